"""Networks that act and judge: encoders, heads, and the flat vector their weights travel in."""
