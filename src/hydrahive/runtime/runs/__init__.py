"""A run's folder: boundaries, checkpoints, storage, and what people ask of a live run or see of it.

Imports `config` only; no Ray.
"""
