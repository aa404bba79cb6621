"""``image-cls train`` and ``image-cls evaluate`` on a rank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvdcore.classifier import keras as classifier
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from image_cls.config import TrainConfig
from image_cls.task import ImageTask, open_task

__all__ = ["score_run", "train"]


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
