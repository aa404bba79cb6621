"""From image files to batches: sources, listing, decoding, preparation, augmentation."""
