"""A task for tests: points in the plane, in three classes, and a model of one layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hvdcore.classifier.config import ClassifierConfig, SampleNames
from hvdcore.classifier.keras import Batch, Inputs, PretrainingCheckpoints, pad_rows, smooth_labels
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices, epoch_order

POINTS = np.random.default_rng(0).uniform(-1, 1, (6, 2)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@dataclass(frozen=True)
class Points:
    points: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Indices) -> Points:
        return Points(self.points[indices], self.labels[indices])


def network(num_classes: int = 3) -> keras.Model:
    """Two numbers to logits."""
    keras.utils.set_random_seed(0)
    points = keras.Input((2,))
    return keras.Model(points, keras.layers.Dense(num_classes)(points))


class TinyTask:
    """Six points, all of them in every split."""

    names = SampleNames("tiny", "point")
    classes: tuple[str, ...] = ("x", "y", "z")
    peak_learning_rate = 0.5

    def __init__(self, split: Points | None = None, **fields: Any) -> None:
        self.config = ClassifierConfig.model_validate(
            {"model": "line", "global_batch_size": 4, **fields}
        )
        split = split or Points(POINTS, LABELS)
        self.splits = {"train": split, "val": split, "test": split}

    def order(self, epoch: int) -> Indices:
        return epoch_order(len(self.splits["train"]), self.config.seed, epoch)

    def get_batch(self, epoch: int, indices: Indices) -> Batch:
        split = self.splits["train"]
        targets = smooth_labels(split.labels[indices], 3, 0.0)
        return Batch.padded((split.points[indices],), targets, self.config.global_batch_size)

    def eval_batches(self, split: Points, indices: Indices) -> Iterator[tuple[Indices, Inputs]]:
        """Two at a time, the last first: the order must not matter."""
        for start in reversed(range(0, len(indices), 2)):
            chosen = indices[start : start + 2]
            positions = np.arange(start, start + len(chosen))
            yield positions, (pad_rows(split.points[chosen], 2),)

    def build_model(self) -> keras.Model:
        return network(len(self.classes))

    def pretrain(
        self,
        model: keras.Model,
        world: World,
        checkpoints: PretrainingCheckpoints,
        stop: Callable[[], bool],
    ) -> bool:
        return True

    def run_fingerprint(self) -> dict[str, Any]:
        return {}

    def report_values(self) -> dict[str, Any]:
        return {}

    def save(self, folder: Path, model: keras.Model) -> None:
        raise NotImplementedError

    def draw_figures(self, run: RunDir, split: str, probabilities: npt.NDArray[np.float64]) -> None:
        raise NotImplementedError
