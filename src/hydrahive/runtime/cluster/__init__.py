"""The run's objects as Ray actors: connecting, placing, hiring, who may join, hearing, ending and replacing them.

Imports `coordinator`, `fleet` and what is below them; imports Ray.
"""
