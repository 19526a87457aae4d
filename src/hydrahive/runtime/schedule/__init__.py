"""Who computes what, when, and again if it is lost; a lost worker is replaced here, whatever the fleet.

Imports `fleet` and what is below it; no Ray.
"""
