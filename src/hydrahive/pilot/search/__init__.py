"""Values that are moved while a run is trained: how a probe is chosen, and what is made of its outcome."""
