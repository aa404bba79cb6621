"""Tokenizers: bytes, BPE trained on the data, and pretrained ones."""
