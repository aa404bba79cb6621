"""TODO tokenizer."""
