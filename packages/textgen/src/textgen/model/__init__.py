"""The models: shapes, the transformer, models of transformers, and what they cost."""
