"""Any Gymnasium environment: its config, and its vectors with snapshots."""
