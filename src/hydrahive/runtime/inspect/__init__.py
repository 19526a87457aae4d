"""Looking at runs and environments: playing, recording, reports, comparison, `check-env`.

Imports `roles`, `runs` and `config`; no Ray.
"""
