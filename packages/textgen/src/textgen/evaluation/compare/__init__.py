"""Comparing several models on the same held-out books: the command ``compare``."""
