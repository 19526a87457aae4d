"""A run that watches itself: what is decided from its own validation scores, as pure functions; no Ray, no torch."""
