"""The `hydrahive` command: parses, calls, prints."""
