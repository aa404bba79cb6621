"""Classify scenes: a CNN against logistic regression and a shallow MLP, on Horovod."""
