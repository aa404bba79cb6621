"""Training: the loop, the optimizer, checkpoints, metrics, and the end of a run."""
