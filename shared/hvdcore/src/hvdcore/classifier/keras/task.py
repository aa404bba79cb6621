"""What a package brings to the training of a classifier.

A step's samples on one rank, filled up to a fixed size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from hvdcore.classifier.config import ClassifierConfig, Words
from hvdcore.classifier.keras.pretraining import Pretraining
from hvdcore.classifier.score import Part
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices

__all__ = [
    "Batch",
    "EvalTask",
    "Inputs",
    "Task",
    "filled_up",
    "smoothed",
]

Inputs = tuple[npt.NDArray[Any], ...]
"""What a model takes: one array for each of its inputs, all with B rows."""


@dataclass(frozen=True)
class Batch:
    """What a rank computes in one step. Rows beyond its samples are zeros and weigh nothing.

    Attributes:
        inputs: of the model, each [B, ...].
        targets: probabilities, float32 [B, C].
        weights: 1 for a sample and 0 for a row that fills up, float32 [B].
    """

    inputs: Inputs
    targets: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def of(cls, inputs: Inputs, targets: npt.NDArray[np.float32], rows: int) -> Batch:
        """The samples, filled up to `rows`."""
        weights = np.ones(len(targets), dtype=np.float32)
        return cls(
            tuple(filled_up(values, rows) for values in inputs),
            filled_up(targets, rows),
            filled_up(weights, rows),
        )


def smoothed(
    labels: npt.NDArray[np.int64], num_classes: int, smoothing: float
) -> npt.NDArray[np.float32]:
    """Target probabilities [n, C]: `smoothing` spread over all classes, the rest on the label."""
    sure: npt.NDArray[np.float32] = np.eye(num_classes, dtype=np.float32)[labels]
    targets: npt.NDArray[np.float32] = sure * np.float32(1.0 - smoothing) + np.float32(
        smoothing / num_classes
    )
    return targets


def filled_up(values: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """The values with zeros below, up to `rows`: one shape for all steps is compiled once."""
    missing = rows - len(values)
    assert missing >= 0, f"{len(values)} samples in a batch of {rows}"
    if not missing:
        return values
    filled: npt.NDArray[Any] = np.pad(values, [(0, missing), *[(0, 0)] * (values.ndim - 1)])
    return filled


class EvalTask(Protocol):
    """The data of a run, cut into parts, to be evaluated.

    Attributes:
        classes: names, in the order of the labels.
        parts: `train`, `val` and `test`; each may be empty.
    """

    classes: tuple[str, ...]
    parts: Mapping[str, Part]

    def eval_batches(self, part: Any, indices: Indices) -> Iterator[tuple[Indices, Inputs]]:
        """The samples of a part, unchanged, in batches of few shapes: for each batch which of
        `indices` its first rows hold, as places in `indices`, and the model's inputs. Each place
        comes once."""


class Task(EvalTask, Protocol):
    """The data of a run, cut into parts, and its model. The same on every rank.

    Attributes:
        words: what its samples are called.
        config: of the run.
        parts: `train` is what is trained on, and is not empty.
        peak_learning_rate: of AdamW, at `config.global_batch_size`.
    """

    words: Words
    config: ClassifierConfig
    peak_learning_rate: float

    def order(self, epoch: int) -> Indices:
        """The order in which an epoch visits the train part, int64 [n]: a function of the seed
        and the epoch, never of the ranks."""

    def read(self, epoch: int, indices: Indices) -> Batch:
        """The train samples as this epoch shows them, in a batch of this rank's rows."""

    def build_model(self) -> keras.Model:
        """A model with fresh weights, the same for the same seed; it gives logits [B, C]."""

    def pretrain(
        self, model: keras.Model, world: World, kept: Pretraining, stop: Callable[[], bool]
    ) -> bool:
        """Whatever a fresh model learns before its classes. Every rank must call.

        Args:
            kept: where it goes on from, and keeps how far it is.
            stop: whether this rank is asked to stop.

        Returns:
            Whether it came to its end, alike on every rank.
        """

    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be taken up, as JSON."""

    def report(self) -> dict[str, Any]:
        """The package's own part of ``report.json``."""

    def save(self, folder: Path, model: keras.Model) -> None:
        """Write the model with its preprocessing. Rank 0 alone."""

    def draw(self, run: RunDir, split: str, probabilities: npt.NDArray[np.float64]) -> None:
        """Draw what only this package draws into ``figures/``. Rank 0 alone.

        Args:
            split: the part that is shown, test if there is one.
            probabilities: of each of its samples [n, C].
        """
