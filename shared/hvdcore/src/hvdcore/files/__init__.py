"""Files: atomic writes, strict JSON, a cache with one builder, the Hugging Face Hub."""
