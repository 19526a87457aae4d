"""Where a run's story is written: rows, events, progress, pictures and tables."""
