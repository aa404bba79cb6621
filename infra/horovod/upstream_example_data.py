"""Made data in the form that upstream's examples read: MNIST for torchvision and Keras, images.

Nothing is downloaded: the files lie where torchvision and Keras look before they would.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TRAIN, TEST = 128, 32
"""Digits of MNIST's two splits."""

IMAGES = 8
"""Images of what stands for ImageNet, one a class."""


@dataclass(frozen=True)
class Places:
    """Where the data lies: what an example's arguments name.

    Keras takes the folders for ImageNet's 1,000 classes, though most are empty; torchvision takes
    no empty folder.
    """

    home: Path
    mnist: Path
    images: Path
    thousand_classes: Path


def make(folder: Path) -> Places:
    """Writes all of it below a folder."""
    random = np.random.default_rng(0)
    places = Places(folder, folder / "mnist", folder / "images", folder / "thousand-classes")
    digits = {"train": digit_images(random, TRAIN), "t10k": digit_images(random, TEST)}
    write_idx(places.mnist / "MNIST" / "raw", digits)
    write_npz(folder / ".keras" / "datasets", digits)
    write_images(random, places.images, classes=IMAGES)
    write_images(random, places.thousand_classes, classes=1000)
    return places


def digit_images(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [count, 28, 28] and their classes, which brightness tells apart."""
    labels = random.integers(0, 10, count).astype(np.uint8)
    noise = random.integers(0, 30, (count, 28, 28))
    return (noise + 20 * labels[:, None, None]).astype(np.uint8), labels


def write_idx(folder: Path, digits: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """MNIST's own format: a magic number, the shape in big-endian, the bytes."""
    folder.mkdir(parents=True)
    for split, (images, labels) in digits.items():
        shape = struct.pack(">4I", 0x803, *images.shape)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(shape + images.tobytes())
        head = struct.pack(">2I", 0x801, len(labels))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


def write_npz(folder: Path, digits: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Keras's copy of MNIST, under each name by which the examples ask for it."""
    folder.mkdir(parents=True)
    (x_train, y_train), (x_test, y_test) = digits["train"], digits["t10k"]
    for name in ("mnist.npz", "mnist-0.npz", "mnist-1.npz"):
        np.savez(folder / name, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def write_images(random: np.random.Generator, folder: Path, classes: int) -> None:
    """A folder for each class, the first of them with an image."""
    from PIL import Image

    for number in range(classes):
        place = folder / f"n{number:08d}"
        place.mkdir(parents=True)
        if number < IMAGES:
            pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / "image.jpg")
