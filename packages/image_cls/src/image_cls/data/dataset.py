"""Prepared pictures on disk: one memory-mapped uint8 array, cut into train, val and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.score import first_of_each_class
from hvdcore.classifier.splits import PARTS
from hvdcore.errors import UserError
from hvdcore.files.json_files import read_json_object
from image_cls.config import TrainConfig

__all__ = ["SCHEMA", "ImageData", "Part", "is_complete", "open_data", "train_part"]

SCHEMA = 1
META, PIXELS, LABELS = "meta.json", "pixels.npy", "labels.npy"


@dataclass(frozen=True)
class Part:
    """Pictures of one part.

    Attributes:
        pixels: uint8 [n, size, size, 3], on disk.
        labels: int64 [n].
        names: what each is called, for people.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.int64]) -> Part:
        """Some of the pictures, read into memory."""
        return Part(self.pixels[indices], self.labels[indices], [self.names[i] for i in indices])


@dataclass(frozen=True)
class ImageData:
    """All parts, and what was found on the way to them."""

    path: Path
    classes: tuple[str, ...]
    image_size: int
    parts: dict[str, Part]
    meta: dict[str, Any]

    @property
    def key(self) -> str:
        """Names the content: equal for the same pictures, whatever they are called."""
        return self.path.name

    def first_of_each_class(self, split: str, count: int | None) -> Part:
        """`count` pictures of a part, as many of each class; all of them for None.

        Raises:
            UserError: there are fewer.
        """
        part = self.parts[split]
        if count is None or count == len(part):
            return part
        return part.take(
            first_of_each_class(part.labels, count, field="num_train_images", samples="pictures")
        )


def is_complete(path: Path) -> bool:
    """Whether the folder holds prepared data, whole: meta.json is written last."""
    return (path / META).is_file()


def open_data(path: Path) -> ImageData:
    """Map what `prepare` wrote. Any rank may call.

    Raises:
        UserError: it is not there or of another version.
    """
    meta = read_json_object(path / META)
    if meta.get("schema") != SCHEMA:
        raise UserError(f"{path}: prepared by another version; delete it and prepare again")
    pixels = np.load(path / PIXELS, mmap_mode="r")
    labels = np.load(path / LABELS)
    parts, start = {}, 0
    for name in PARTS:
        stop = start + int(meta["parts"][name])
        parts[name] = Part(pixels[start:stop], labels[start:stop], meta["names"][start:stop])
        start = stop
    return ImageData(path, tuple(meta["classes"]), int(meta["image_size"]), parts, meta)


def train_part(config: TrainConfig, data: ImageData) -> Part:
    """The train pictures, or as many of them as were asked for."""
    return data.first_of_each_class("train", config.num_train_images)
