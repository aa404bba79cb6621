"""Prepared images on disk: one memory-mapped uint8 array, split into train, val and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.prepared import PreparedData, read_meta, split_slices

__all__ = ["SCHEMA", "ImageData", "Split", "open_data"]

SCHEMA = 1
PIXELS, LABELS = "pixels.npy", "labels.npy"


@dataclass(frozen=True)
class Split:
    """The images of one split.

    Attributes:
        pixels: uint8 [n, size, size, 3], on disk.
        labels: int64 [n].
        names: file names, for display.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.int64]) -> Split:
        """The images at these indices, read into memory."""
        return Split(self.pixels[indices], self.labels[indices], [self.names[i] for i in indices])


@dataclass(frozen=True)
class ImageData(PreparedData[Split]):
    """All splits, and what was found while they were prepared.

    Attributes:
        image_size: height and width in pixels.
    """

    image_size: int


def open_data(path: Path) -> ImageData:
    """Map what `prepare` wrote. Any rank may call.

    Raises:
        UserError: it is not there, or another version wrote it.
    """
    meta = read_meta(path, SCHEMA)
    pixels, labels = np.load(path / PIXELS, mmap_mode="r"), np.load(path / LABELS)
    splits = {
        name: Split(pixels[part], labels[part], meta["names"][part])
        for name, part in split_slices(meta).items()
    }
    return ImageData(path, tuple(meta["classes"]), splits, meta, int(meta["image_size"]))
