"""The task of ``image-cls train``; the training loop is `hvdcore.classifier.keras.train`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hvdcore.keras  # noqa: F401  # isort: skip  (first: it loads TensorFlow silently)
import keras
import numpy as np
import numpy.typing as npt

from hvdcore.classifier import keras as classifier
from hvdcore.classifier.keras import (
    Batch,
    Inputs,
    PretrainingCheckpoints,
    pad_rows,
    prepare_distributed,
    save_model,
)
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices, epoch_order
from hvdcore.tracking.logs import get_logger
from image_cls.config import SAMPLE_NAMES, TrainConfig
from image_cls.data.batches import BatchReader
from image_cls.data.dataset import ImageData, Split, open_data
from image_cls.data.prepare import prepare, summary
from image_cls.model import LEARNING_RATES, build_model, portable
from image_cls.plots import draw_augmentations, draw_mistakes

__all__ = [
    "ImageTask",
    "evaluate_run",
    "open_task",
    "train",
]

logger = get_logger(__name__)


def train(config: TrainConfig, output_dir: Path | None, resume: str) -> int:
    """Train as configured; see `hvdcore.classifier.keras.train`."""

    def open_images(world: World) -> ImageTask:
        task = open_task(config, world)
        if world.is_root:
            settings = task.reader.settings().items()
            logger.info("settings: %s", ", ".join(f"{name} {value}" for name, value in settings))
        return task

    return classifier.train("image_cls", config, open_images, output_dir, resume)


def evaluate_run(path: Path, changes: dict[str, Any], splits: Sequence[str]) -> int:
    """Score a saved model and print one JSON object on rank 0. Every rank must call.

    Args:
        changes: fields of the run's configuration that name other images.

    Raises:
        UserError: no run, no model in it, no such split, or images of other classes.
    """

    def open_images(run: RunDir, preprocessing: dict[str, Any], world: World) -> ImageTask:
        size = int(preprocessing["image_size"])
        fields = {**run.read_config(), "image_size": size, "num_train_images": None, **changes}
        return open_task(TrainConfig.model_validate(fields), world)

    return classifier.evaluate_run(path, splits, open_images)


def open_task(config: TrainConfig, world: World) -> ImageTask:
    """Prepare the images on one rank per host and open them on all. Every rank must call.

    Raises:
        UserError: the data is wrong.
    """
    data = prepare_distributed(config, prepare, open_data, summary, world)
    return ImageTask(config, data, world.size)


class ImageTask:
    """Images in splits, and the model for them; see `hvdcore.classifier.keras.Task`.

    Args:
        size: number of ranks.
    """

    def __init__(self, config: TrainConfig, data: ImageData, size: int) -> None:
        self.names = SAMPLE_NAMES
        self.data, self.classes = data, data.classes
        train = data.train_subset(config.num_train_images, SAMPLE_NAMES)
        self.config = config = config.resolved(len(train))
        self.splits: dict[str, Split] = {**data.splits, "train": train}
        self.peak_learning_rate = config.learning_rate or LEARNING_RATES[config.model]
        rows = max(1, config.global_batch_size // size)
        self.reader = BatchReader(train, len(self.classes), rows, config)

    def order(self, epoch: int) -> Indices:
        """A shuffle by seed and epoch."""
        return epoch_order(len(self.splits["train"]), self.config.seed, epoch)

    def get_batch(self, epoch: int, indices: Indices) -> Batch:
        """Augmented as in this epoch."""
        return self.reader.get_batch(epoch, indices)

    def eval_batches(self, split: Split, indices: Indices) -> Iterator[tuple[Indices, Inputs]]:
        """In the order of `indices`."""
        rows = self.config.eval_batch_size
        for start in range(0, len(indices), rows):
            chosen = indices[start : start + rows]
            images = pad_rows(split.pixels[chosen].astype(np.float32), rows)
            yield np.arange(start, start + len(chosen)), (images,)

    def build_model(self) -> keras.Model:
        """With fresh weights, by the seed."""
        return build_model(self.config, self.data.image_size, len(self.classes), self.config.seed)

    def pretrain(
        self,
        model: keras.Model,
        world: World,
        checkpoints: PretrainingCheckpoints,
        stop: Callable[[], bool],
    ) -> bool:
        """There is no pretraining."""
        return True

    def run_fingerprint(self) -> dict[str, Any]:
        """The images, their size and number."""
        return {
            "image_size": self.config.image_size,
            "images": self.data.key,
            "num_train_images": len(self.splits["train"]),
        }

    def report_values(self) -> dict[str, Any]:
        """The images that were found, used and left out, and what their number decided."""
        return {"images": self.data.report_values(), "settings": self.reader.settings()}

    def save(self, folder: Path, model: keras.Model) -> None:
        """Write the model with the size and format of its input."""
        preprocessing = {
            "image_size": self.data.image_size,
            "resize": "the whole image, bicubic with antialiasing",
            "input": "RGB in 0..255, [batch, height, width, 3]",
        }
        save_model(folder, portable(model), self.classes, preprocessing)

    def draw_figures(self, run: RunDir, split: str, probabilities: npt.NDArray[np.float64]) -> None:
        """The most confident mistakes, and how train images are augmented."""
        shown = self.splits[split]
        draw_mistakes(
            run.figures / "mistakes.png", shown.pixels, shown.labels, probabilities, self.classes,
            f"Most confident mistakes on {split}",
        )  # fmt: skip
        if self.config.augments:
            path = run.figures / "augmentations.png"
            draw_augmentations(path, self.splits["train"], self.classes, self.config)
