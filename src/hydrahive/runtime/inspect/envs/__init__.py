"""Looking at an environment: before a run trains on it, and in full, as `hydrahive check-env` does."""
