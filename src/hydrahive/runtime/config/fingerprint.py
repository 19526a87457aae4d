"""Which arithmetic the code does."""

NUMERICS = 1
"""Raised by the commit that changes a byte of any run's result, which says why in CHANGELOG.md.

Golden digests (`tests/golden/`) are kept for each; a run is not continued under another one by itself.
"""
