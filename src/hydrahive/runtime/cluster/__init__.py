"""The run's objects as Ray actors: connecting, hiring, hearing, placing and ending them.

Imports `coordinator`, `fleet` and what is below them; imports Ray.
"""
