"""``python -m image_cls``."""

from image_cls.cli import main

if __name__ == "__main__":
    main()
