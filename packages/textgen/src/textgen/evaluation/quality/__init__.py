"""Judging what a model writes: prompts from held-out books, continuations, and their figures."""
