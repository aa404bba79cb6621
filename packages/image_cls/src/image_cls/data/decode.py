"""Decoding an image file to pixels, whatever its format, or saying why it cannot be used."""

from __future__ import annotations

import hashlib
import struct
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from image_cls.data.modes import UnknownRange, to_rgb

__all__ = ["DecodedImage", "Skip", "decode", "resize"]

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 64_000_000
"""An image with more pixels counts as a decompression bomb: it would be 200 MB once decoded."""


FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened, whatever a file is called. Pillow knows forty more; for some it starts another
program (Ghostscript for PostScript), and an icon may hold many images, all read before one is asked
for."""


@cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


class Skip(Exception):
    """The file cannot be used; the message says why, without the file's name."""


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image.

    Attributes:
        pixels: uint8 [height, width, 3].
        notes: what is unusual about the file, such as `mode CMYK`; the image is used nevertheless.
    """

    pixels: Pixels
    notes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of shape and pixels: equal for another file with the same content."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(self.pixels.tobytes())
        return digest.hexdigest()


def decode(path: Path) -> DecodedImage:
    """Decode one image: its first frame, upright, as 8-bit RGB.

    Raises:
        Skip: not an image, damaged, empty, too large, or not readable.
    """
    try:
        if path.stat().st_size == 0:
            raise Skip("zero bytes")
        # Pillow warns about broken metadata; only the pixels matter.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=formats()) as image:
                return _decoded(image, path)
    except UnidentifiedImageError:
        raise Skip("not an image") from None
    except UnknownRange as error:
        raise Skip(str(error)) from None
    except FileNotFoundError:
        raise Skip("a broken link" if path.is_symlink() else "not found") from None
    except PermissionError:
        raise Skip("no permission to read it") from None
    except Image.DecompressionBombError:
        raise Skip(_TOO_LARGE) from None
    except _DAMAGED:
        raise Skip("damaged or truncated") from None


_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, RuntimeError, LookupError, ArithmeticError,
    TypeError, struct.error,
)  # fmt: skip
"""What the decoders of Pillow raise for damaged files, each of them something else."""
_TOO_LARGE = f"more than {MAX_PIXELS // 1_000_000} million pixels (a decompression bomb?)"


def _decoded(image: Image.Image, path: Path) -> DecodedImage:
    # Checked before decoding: the header says how large the image would be.
    if image.width * image.height > MAX_PIXELS:
        raise Skip(_TOO_LARGE)
    notes = _notes(image, path)
    image.load()
    tags = getattr(image, "tag_v2", {})
    image = ImageOps.exif_transpose(image)
    return DecodedImage(np.asarray(to_rgb(image, tags), dtype=np.uint8), notes)


def _notes(image: Image.Image, path: Path) -> tuple[str, ...]:
    notes = [] if image.mode == "RGB" else [f"mode {image.mode}"]
    if getattr(image, "is_animated", False):  # not their number: all would be read
        notes.append("animated, first frame used")
    by_name = Image.registered_extensions().get(path.suffix.lower())
    if image.format not in (by_name, "MPO"):
        notes.append(f"{image.format} named {path.suffix or 'without suffix'}")
    return tuple(notes)


def resize(pixels: Pixels, size: int) -> Pixels:
    """The whole image as uint8 [size, size, 3], resized with antialiasing."""
    if pixels.shape[:2] == (size, size):
        return pixels
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)
