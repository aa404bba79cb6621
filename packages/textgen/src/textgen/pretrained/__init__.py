"""Saved and pretrained models: resolving a name, downloading, and the Hugging Face format."""
