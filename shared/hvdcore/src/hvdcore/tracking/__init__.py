"""Tracking a run: logs, metrics.jsonl, TensorBoard, progress bars."""
