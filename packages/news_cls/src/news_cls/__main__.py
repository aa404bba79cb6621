"""``python -m news_cls`` is the command ``news-cls``."""

from news_cls.cli import main

if __name__ == "__main__":
    main()
