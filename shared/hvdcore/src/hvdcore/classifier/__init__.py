"""What the trainers of classifiers share: splits, prepared data, scores, figures and reports.

No framework is loaded here; the training itself is in `hvdcore.classifier.keras`.
"""
