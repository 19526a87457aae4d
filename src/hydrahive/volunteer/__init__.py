"""A volunteer's computer: fetches acting from a gateway, does it, and brings it back. Knows no Ray, believes nobody."""
