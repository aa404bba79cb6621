"""Training: the task and its batches, language-model pretraining, and TF-IDF."""
