"""Owns what trainers of classifiers share: scores, parts, figures, reports, comparison.

No framework is loaded here; the training itself is in `hvdcore.classifier.keras`.
"""
