"""From files of texts to token ids: sources, tables, cleaning, tokens, preparation."""
