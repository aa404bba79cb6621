"""The process beside each rank: starts it, watches it, ends it, and tells the launcher."""
