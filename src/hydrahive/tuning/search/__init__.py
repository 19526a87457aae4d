"""Where a trial's values come from, and which trials go on."""
