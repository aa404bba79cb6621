"""Evaluation: exact scores, quality of generated text, comparisons of models, and the report."""
