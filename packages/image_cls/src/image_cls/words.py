"""What image_cls calls its samples."""

from hvdcore.classifier.words import Words

__all__ = ["WORDS"]

WORDS = Words(package="image_cls", command="image-cls", sample="picture", unit="images")
