"""TODO supervisor."""
