"""What each role of a run does, as plain classes: env worker and shard, learner, replay, auditor, evaluation.

Imports `config` only; no Ray.
"""
