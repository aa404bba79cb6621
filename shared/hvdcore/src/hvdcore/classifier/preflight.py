"""What can be wrong before any rank is started: it costs no loading of a framework to say so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hvdcore.classifier.config import ClassifierConfig
from hvdcore.classifier.model_folder import load_classes
from hvdcore.classifier.splits import PARTS
from hvdcore.errors import Problems, UserError
from hvdcore.metrics.schedule import check_schedule
from hvdcore.run.run_dir import RunDir

__all__ = [
    "check_classes",
    "check_evaluation",
    "check_schedule_of",
    "check_splits",
    "total_steps",
    "warmup_steps",
]


def check_evaluation(path: Path, splits: Sequence[str]) -> RunDir:
    """A run with a saved model, to be scored on these parts.

    Raises:
        UserError: there is none, or no such part.
    """
    problems = Problems()
    with problems.catching():
        check_splits(splits)
    run = RunDir(path)
    with problems.catching():
        run = RunDir.open(path)
        load_classes(run.model)
    problems.raise_if_any()
    return run


def check_splits(splits: Sequence[str]) -> None:
    """Check the names of parts.

    Raises:
        UserError: one is no part's.
    """
    problems = Problems()
    for split in splits:
        if split not in PARTS:
            problems.add("split", f"got {split!r}; give one of {', '.join(PARTS)}")
    problems.raise_if_any()


def check_classes(found: Sequence[str], known: Sequence[str]) -> None:
    """Check that data has the classes of a model.

    Raises:
        UserError: it has others.
    """
    if tuple(found) != tuple(known):
        raise UserError(
            f"data: its classes are {', '.join(found)}, but the model knows "
            f"{', '.join(known)}; name the classes alike"
        )


def check_schedule_of(config: ClassifierConfig, n: int, size: int, *, samples: str) -> None:
    """Check the batch and the schedule for n train samples on `size` ranks.

    Args:
        samples: what they are called, in the plural.

    Raises:
        UserError: with every reason why it cannot be.
    """
    from hvdcore.sharding import check_shardable  # which loads NumPy

    problems = Problems()
    with problems.catching():
        check_shardable(n, config.global_batch_size, size, unit=samples)
    steps = total_steps(config, n)
    with problems.catching():
        check_schedule(
            peak=config.learning_rate or 1.0,
            warmup_steps=warmup_steps(config, steps),
            total_steps=steps,
            final_fraction=config.final_learning_rate_fraction,
        )
    problems.raise_if_any()


def total_steps(config: ClassifierConfig, n: int) -> int:
    """Updates of the whole run: `max_steps`, or the steps of all epochs."""
    return config.max_steps or config.epochs * -(-n // config.global_batch_size)


def warmup_steps(config: ClassifierConfig, steps: int) -> int:
    """As configured, or 5 % of the run."""
    return steps // 20 if config.warmup_steps is None else config.warmup_steps
