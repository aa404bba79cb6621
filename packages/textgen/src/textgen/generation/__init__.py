"""Generating text: sampling, the key-value cache, and a decode step made for small models."""
