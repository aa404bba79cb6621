"""Pixels of every mode and depth as 8-bit RGB, each from its own range of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

__all__ = ["UnknownRange", "to_rgb"]

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
"""Tags of TIFF."""
_WHITE_IS_ZERO = 0
_SIGNED = 2
_LARGEST = (1.0, 255.0, 65535.0)
"""White of floating-point images: the smallest of these that no pixel exceeds."""


class UnknownRange(Exception):
    """It is not known which values are black and white; the message says why."""


Tags = Mapping[int, Any]


def to_rgb(image: Image.Image, tags: Tags) -> Image.Image:
    """The loaded image as RGB; what is transparent becomes white.

    Args:
        tags: of a TIFF; empty for other formats.

    Raises:
        UnknownRange: of integers of 32 bits, signed ones, or floating-point values without a usual
            range.
    """
    if _tag(tags, _SAMPLE_FORMAT, 1) == _SIGNED:
        raise UnknownRange("signed integers, whose black and white are not known")
    if image.mode == "F" or image.mode.startswith("I"):
        image = _scaled(image, tags)
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
        assert converted is not None
        return converted
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA", "PA"):  # transparent pixels have an arbitrary color otherwise
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image.convert("RGBA"))
    return image.convert("RGB")


def _scaled(image: Image.Image, tags: Tags) -> Image.Image:
    """A gray image of more than 8 bits, which `convert` would clip at 255, with 8."""
    values = np.asarray(image, dtype=np.float64)
    white = _float_white(values) if image.mode == "F" else _integer_white(tags)
    if _tag(tags, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        values = white - values
    return Image.fromarray(np.clip(values * (255.0 / white), 0, 255).round().astype(np.uint8))


def _integer_white(tags: Tags) -> float:
    bits = _tag(tags, _BITS, 16)
    if bits > 16:
        raise UnknownRange(f"integers of {bits} bits, whose black and white are not known")
    return float(2**bits - 1)


def _float_white(values: npt.NDArray[np.float64]) -> float:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    white = next((white for white in _LARGEST if high <= white), None)
    if white is None or not low >= 0.0:  # NaN is not
        raise UnknownRange(
            f"floating-point values from {low:.4g} to {high:.4g}; give them from 0 to 1"
        )
    return white


def _tag(tags: Tags, number: int, default: int) -> int:
    value = tags.get(number, default)
    return int(value[0] if isinstance(value, tuple) else value)
