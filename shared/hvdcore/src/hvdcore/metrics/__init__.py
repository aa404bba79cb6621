"""Metrics: sums and counts over ranks, classification scores, step times, the learning rate."""
