"""What can be wrong before any rank is started: it costs no loading of TensorFlow to say so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hvdcore.errors import Problems
from hvdcore.run_dir import RunDir
from hvdcore.schedule import check_schedule
from image_cls.config import TrainConfig
from image_cls.saved_model import load_classes
from image_cls.splits import PARTS

if TYPE_CHECKING:
    from image_cls.image_data import ImageData, Part

__all__ = [
    "check_before_start",
    "check_evaluation",
    "check_run",
    "total_steps",
    "train_part",
    "warmup_steps",
]


def check_before_start(config: TrainConfig, np: int | None) -> None:
    """Prepare the data, and check the run against it.

    Args:
        np: the ranks that will be started; None, where the hosts say it, counts as one.

    Raises:
        UserError: the data, or what is asked of it.
    """
    from image_cls.show import prepare_with_bar

    check_run(config, prepare_with_bar(config), np or 1)


def check_evaluation(path: Path, splits: Sequence[str]) -> RunDir:
    """A run with a saved model, to be scored on these parts.

    Raises:
        UserError: there is none, or no such part.
    """
    problems = Problems()
    for split in splits:
        if split not in PARTS:
            problems.add("split", f"got {split!r}; give one of {', '.join(PARTS)}")
    run = RunDir(path)
    with problems.catching():
        run = RunDir.open(path)
        load_classes(run.model)
    problems.raise_if_any()
    return run


def check_run(config: TrainConfig, data: ImageData, size: int) -> None:
    """Check the batch and the schedule for `size` ranks.

    Raises:
        UserError: with every reason why it cannot be.
    """
    from hvdcore.sharding import check_shardable  # which loads NumPy

    problems = Problems()
    with problems.catching():
        n = len(train_part(config, data))
        with problems.catching():
            check_shardable(n, config.global_batch_size, size, unit="pictures")
        steps = total_steps(config, n)
        with problems.catching():
            check_schedule(
                peak=config.learning_rate or 1.0,
                warmup_steps=warmup_steps(config, steps),
                total_steps=steps,
                final_fraction=config.final_learning_rate_fraction,
            )
    problems.raise_if_any()


def train_part(config: TrainConfig, data: ImageData) -> Part:
    """The train pictures, or as many of them as were asked for."""
    return data.first_of_each_class("train", config.num_train_images)


def total_steps(config: TrainConfig, n: int) -> int:
    """Updates of the whole run: `max_steps`, or the steps of all epochs."""
    return config.max_steps or config.epochs * -(-n // config.global_batch_size)


def warmup_steps(config: TrainConfig, steps: int) -> int:
    """As configured, or 5 % of the run."""
    return steps // 20 if config.warmup_steps is None else config.warmup_steps
