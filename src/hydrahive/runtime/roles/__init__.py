"""What each role of a run does, as plain classes: env worker and shard, learner, replay, auditor, evaluation, pictures.

Imports `config` only; no Ray.
"""
