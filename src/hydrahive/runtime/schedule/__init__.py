"""Who computes what and when; what a lost worker had is given to others and computed again here, on any fleet.

Imports `fleet` and what is below it; no Ray.
"""
