"""One picture file to pixels: every form seen in the wild, or the reason why not."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["Picture", "Skip", "decode", "resize"]

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 64_000_000
"""Above it a picture counts as a decompression bomb: 200 MB once decoded."""


class Skip(Exception):
    """The file cannot be used; the message says why, without its name."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: uint8 [height, width, 3].
        notes: what was odd about the file, such as `CMYK`; the picture is good all the same.
    """

    pixels: Pixels
    notes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of size and pixels: the same for another file of the same content."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(self.pixels.tobytes())
        return digest.hexdigest()


def decode(path: Path) -> Picture:
    """Read one picture: its first frame, upright, as RGB of 8 bits.

    Raises:
        Skip: no picture, damaged, empty, too large, or not to be read.
    """
    try:
        if path.stat().st_size == 0:
            raise Skip("zero bytes")
        # Pillow warns of half-broken metadata; the pixels decide.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _decoded(image, path)
    except UnidentifiedImageError:
        raise Skip("not a picture") from None
    except FileNotFoundError:
        raise Skip("a link to nowhere" if path.is_symlink() else "gone") from None
    except PermissionError:
        raise Skip("no permission to read it") from None
    except Image.DecompressionBombError:
        raise Skip(_TOO_LARGE) from None
    except (OSError, SyntaxError, ValueError, EOFError):
        # What Pillow's decoders raise for damage, by format.
        raise Skip("damaged or cut off") from None


_TOO_LARGE = f"more than {MAX_PIXELS // 1_000_000} million pixels (a decompression bomb?)"


def _decoded(image: Image.Image, path: Path) -> Picture:
    # Before anything is decoded: the header says how large it would become.
    if image.width * image.height > MAX_PIXELS:
        raise Skip(_TOO_LARGE)
    notes = _notes(image, path)
    image.load()
    image = ImageOps.exif_transpose(image)
    return Picture(np.asarray(_to_rgb(image), dtype=np.uint8), notes)


def _notes(image: Image.Image, path: Path) -> tuple[str, ...]:
    notes = [] if image.mode == "RGB" else [f"mode {image.mode}"]
    if getattr(image, "n_frames", 1) > 1:
        notes.append("animated, first frame taken")
    by_name = Image.registered_extensions().get(path.suffix.lower())
    if image.format not in (by_name, "MPO"):
        notes.append(f"{image.format} named {path.suffix or 'without suffix'}")
    return tuple(notes)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel: `convert` would cut it off at 255
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray(np.clip(values / 257.0, 0, 255).round().astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA"):  # what is transparent shows an arbitrary colour otherwise
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image.convert("RGB")


def resize(pixels: Pixels, size: int) -> Pixels:
    """The whole picture in uint8 [size, size, 3], smoothed against aliasing."""
    if pixels.shape[:2] == (size, size):
        return pixels
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)
