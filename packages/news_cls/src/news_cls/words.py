"""What news_cls calls its samples."""

from hvdcore.classifier.words import Words

__all__ = ["WORDS"]

WORDS = Words(package="news_cls", command="news-cls", sample="text", unit="texts")
