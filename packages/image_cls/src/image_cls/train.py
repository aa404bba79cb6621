"""``image-cls train`` and ``image-cls evaluate`` on a rank.

The classification of pictures, as the training of `hvdcore.classifier.keras` takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hvdcore.classifier import keras as classifier
from hvdcore.classifier.keras import (
    Batch,
    Inputs,
    Pretraining,
    filled_up,
    open_on_all_ranks,
    save_model,
)
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices, epoch_order
from image_cls.config import WORDS, TrainConfig
from image_cls.data.batches import BatchReader
from image_cls.data.dataset import ImageData, Part, open_data, train_part
from image_cls.data.prepare import prepare, summary
from image_cls.model import LEARNING_RATES, build_model, portable
from image_cls.plots import draw_run_pictures

__all__ = [
    "ImageTask",
    "open_task",
    "score_run",
    "train",
]


def open_task(config: TrainConfig, world: World) -> ImageTask:
    """Prepare the pictures on one rank of each host and open them. Every rank must call.

    Raises:
        UserError: the data is not what it should be.
    """
    data = open_on_all_ranks(lambda tell: prepare(config, tell), open_data, summary, world)
    return ImageTask(config, data, world.size)


class ImageTask:
    """Pictures in parts, and the model for them; see `hvdcore.classifier.keras.Task`."""

    def __init__(self, config: TrainConfig, data: ImageData, size: int) -> None:
        self.words = WORDS
        self.config, self.data = config, data
        self.classes = data.classes
        self.parts: dict[str, Part] = {**data.parts, "train": train_part(config, data)}
        self.peak_learning_rate = config.learning_rate or LEARNING_RATES[config.model]
        rows = max(1, config.global_batch_size // size)
        self.reader = BatchReader(self.parts["train"], len(self.classes), rows, config)

    def order(self, epoch: int) -> Indices:
        """As every trainer's: by seed and epoch."""
        return epoch_order(len(self.parts["train"]), self.config.seed, epoch)

    def read(self, epoch: int, indices: Indices) -> Batch:
        """Blended and changed as this epoch has it."""
        return self.reader.read(epoch, indices)

    def eval_batches(self, part: Part, indices: Indices) -> Iterator[tuple[Indices, Inputs]]:
        """In the order of `indices`, as they are."""
        rows = self.config.eval_batch_size
        for start in range(0, len(indices), rows):
            chosen = indices[start : start + rows]
            images = filled_up(part.pixels[chosen].astype(np.float32), rows)
            yield np.arange(start, start + len(chosen)), (images,)

    def build_model(self) -> keras.Model:
        """Fresh weights, by the seed."""
        return build_model(self.config, self.data.image_size, len(self.classes), self.config.seed)

    def pretrain(
        self, model: keras.Model, world: World, kept: Pretraining, stop: Callable[[], bool]
    ) -> bool:
        """There is none."""
        return True

    def identity(self) -> dict[str, Any]:
        """The pictures, their size and number."""
        return {
            "image_size": self.config.image_size,
            "images": self.data.key,
            "num_train_images": len(self.parts["train"]),
        }

    def report(self) -> dict[str, Any]:
        """What became of the pictures that were found."""
        meta = self.data.meta
        return {
            "images": {
                "key": self.data.key,
                "parts": meta["parts"],
                "left_out": meta["left_out"],
                "skipped": {why: entry["count"] for why, entry in meta["skipped"].items()},
            }
        }

    def save(self, folder: Path, model: keras.Model) -> None:
        """With the size and form of its input."""
        preprocessing = {
            "image_size": self.data.image_size,
            "resize": "the whole picture, bicubic with antialiasing",
            "input": "RGB in 0..255, [batch, height, width, 3]",
        }
        save_model(folder, portable(model), self.classes, preprocessing)

    def draw(self, run: RunDir, split: str, probabilities: npt.NDArray[np.float64]) -> None:
        """Most confident mistakes and augmentations."""
        draw_run_pictures(self, run.figures, split, probabilities)


def train(config: TrainConfig, output_dir: Path | None, resume: str) -> int:
    """Train as configured; see `hvdcore.classifier.keras.train`."""
    return classifier.train(
        "image_cls", config, lambda world: open_task(config, world), output_dir, resume
    )


def score_run(path: Path, data: str | None, splits: Sequence[str]) -> int:
    """Score the parts and print one JSON object on rank 0. Every rank must call.

    Args:
        data: other pictures than the run was trained on, cut into parts alike; None is the run's.

    Raises:
        UserError: no run, no model in it, no such part, or pictures of other classes.
    """

    def open_data(run: RunDir, preprocessing: dict[str, Any], world: World) -> ImageTask:
        changes = {"image_size": int(preprocessing["image_size"]), "num_train_images": None}
        if data is not None:
            changes["data"] = data
        config = TrainConfig.model_validate(run.read_config()).model_copy(update=changes)
        return open_task(config, world)

    return classifier.score_run(path, splits, open_data)
