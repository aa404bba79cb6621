"""Logging a run to MLflow or Weights & Biases, beside TensorBoard."""
