"""A run: its directory, checkpoints, metrics and report."""
