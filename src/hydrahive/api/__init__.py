"""Hydrahive for Python programs and notebooks; `hydrahive` itself offers all of it."""
