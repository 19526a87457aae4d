"""Trained policies behind the ledger: an application of Ray Serve that answers with a run's actions, for tokens."""
