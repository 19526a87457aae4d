"""Any PettingZoo environment: its config, and its worlds as one vector."""
