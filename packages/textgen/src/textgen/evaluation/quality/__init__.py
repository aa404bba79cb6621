"""Quality of generated text: continuations of held-out books against the true ones."""
