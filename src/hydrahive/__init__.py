"""Hydrahive: distributed reinforcement learning on Ray, reproducible to the byte."""

__version__ = "0.1.0"
