"""``python -m image_cls`` is the command ``image-cls``."""

from image_cls.cli import main

if __name__ == "__main__":
    main()
