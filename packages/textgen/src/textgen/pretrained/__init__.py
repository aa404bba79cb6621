"""TODO pretrained."""
