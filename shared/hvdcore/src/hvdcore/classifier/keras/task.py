"""What a package implements to have its classifier trained: `Task`, and the batches it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from hvdcore.classifier.config import ClassifierConfig, SampleNames
from hvdcore.classifier.keras.pretraining import PretrainingCheckpoints
from hvdcore.classifier.splits import Split
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices

__all__ = [
    "Batch",
    "EvalTask",
    "Inputs",
    "Task",
    "pad_rows",
    "smooth_labels",
]

Inputs = tuple[npt.NDArray[Any], ...]
"""The inputs of a model: one array for each, all with B rows."""


@dataclass(frozen=True)
class Batch:
    """The samples of one rank in one step, padded to a fixed number of rows.

    Attributes:
        inputs: of the model, each [B, ...]; padding rows are zero.
        targets: probabilities, float32 [B, C].
        weights: 1 for a sample and 0 for a padding row, float32 [B].
    """

    inputs: Inputs
    targets: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def padded(cls, inputs: Inputs, targets: npt.NDArray[np.float32], rows: int) -> Batch:
        """The samples, padded to `rows`."""
        weights = np.ones(len(targets), dtype=np.float32)
        return cls(
            tuple(pad_rows(values, rows) for values in inputs),
            pad_rows(targets, rows),
            pad_rows(weights, rows),
        )


def smooth_labels(
    labels: npt.NDArray[np.int64], num_classes: int, smoothing: float
) -> npt.NDArray[np.float32]:
    """Target probabilities [n, C]: `smoothing` spread over all classes, the rest on the label."""
    one_hot: npt.NDArray[np.float32] = np.eye(num_classes, dtype=np.float32)[labels]
    targets: npt.NDArray[np.float32] = one_hot * np.float32(1.0 - smoothing) + np.float32(
        smoothing / num_classes
    )
    return targets


def pad_rows(values: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """The values with rows of zeros appended: one shape for all steps is compiled once."""
    missing = rows - len(values)
    assert missing >= 0, f"{len(values)} samples in a batch of {rows}"
    if not missing:
        return values
    padded: npt.NDArray[Any] = np.pad(values, [(0, missing), *[(0, 0)] * (values.ndim - 1)])
    return padded


class EvalTask(Protocol):
    """The data of a run, in splits, to be evaluated.

    Attributes:
        classes: names, in the order of the labels.
        splits: `train`, `val` and `test`; each may be empty.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Split]

    def eval_batches(self, split: Any, indices: Indices) -> Iterator[tuple[Indices, Inputs]]:
        """The samples of a split at these indices, without augmentation, in batches of few shapes.

        Yields:
            For each batch the positions in `indices` of its first rows, and the model's inputs;
            each position comes once. Rows beyond the positions are padding.
        """


class Task(EvalTask, Protocol):
    """The data of a run, in splits, and its model. The same on every rank.

    Attributes:
        names: what its samples are called.
        config: of the run.
        splits: `train` is what is trained on, and is not empty.
        peak_learning_rate: of AdamW, at `config.global_batch_size`.
    """

    names: SampleNames
    config: ClassifierConfig
    peak_learning_rate: float

    def order(self, epoch: int) -> Indices:
        """The order in which an epoch visits the train split, int64 [n]: a function of the seed
        and the epoch, never of the ranks."""

    def get_batch(self, epoch: int, indices: Indices) -> Batch:
        """These train samples as this epoch augments them, padded to this rank's batch size."""

    def build_model(self) -> keras.Model:
        """A model with fresh weights, the same for the same seed; it gives logits [B, C]."""

    def pretrain(
        self,
        model: keras.Model,
        world: World,
        checkpoints: PretrainingCheckpoints,
        stop: Callable[[], bool],
    ) -> bool:
        """Pretrain a fresh model, before it is trained on the classes. Every rank must call.

        Args:
            checkpoints: what to resume from and to save to.
            stop: whether this rank has been asked to stop.

        Returns:
            Whether pretraining was completed, the same on every rank.
        """

    def run_fingerprint(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to be resumed, as JSON."""

    def report_values(self) -> dict[str, Any]:
        """What the package adds to ``report.json``."""

    def save(self, folder: Path, model: keras.Model) -> None:
        """Write the model with its preprocessing. Rank 0 only."""

    def draw_figures(self, run: RunDir, split: str, probabilities: npt.NDArray[np.float64]) -> None:
        """Write the figures that only this package has. Rank 0 only.

        Args:
            split: the name of the split to show, test if there is one.
            probabilities: of each of its samples [n, C].
        """
