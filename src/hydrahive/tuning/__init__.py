"""Sweeps: Ray Tune searches and breeds runs, each of which is a run like any other."""
