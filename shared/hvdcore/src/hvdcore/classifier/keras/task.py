"""What a package brings to the training of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from hvdcore.classifier.config import ClassifierConfig
from hvdcore.classifier.keras.batch import Batch, Inputs
from hvdcore.classifier.keras.pretraining import Pretraining
from hvdcore.classifier.parts import Part
from hvdcore.classifier.words import Words
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices

__all__ = ["EvalTask", "Task"]


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
