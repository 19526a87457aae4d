"""State of Python environments that know nothing of snapshots."""
