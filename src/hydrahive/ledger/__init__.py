"""Who earned what, exactly: double-entry accounts over one append-only, hash-chained journal. No torch, no Ray."""
