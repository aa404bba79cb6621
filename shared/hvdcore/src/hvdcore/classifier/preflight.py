"""What can be checked before any rank is started, without loading a framework."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hvdcore.classifier.config import ClassifierConfig, SampleNames
from hvdcore.classifier.model_folder import load_classes
from hvdcore.classifier.prepared import PreparedData, ProgressCallback, hand_over
from hvdcore.errors import Problems, UserError
from hvdcore.metrics.schedule import check_schedule
from hvdcore.run.run_dir import RunDir
from hvdcore.run.splits import check_split_names

__all__ = [
    "check_classes",
    "check_data",
    "check_evaluation",
    "check_schedule_of",
    "total_steps",
    "warmup_steps",
]

C = TypeVar("C", bound=ClassifierConfig)


def check_data(
    config: C,
    num_ranks: int | None,
    names: SampleNames,
    prepare: Callable[[C, ProgressCallback], PreparedData[Any]],
) -> None:
    """Prepare the data, with a progress bar, and check the run against it.

    The ranks that this process starts open what was prepared here.

    Args:
        num_ranks: ranks that will be started; None, if the hosts decide, counts as one.
        prepare: prepares the data of a configuration, or finds it in the cache.

    Raises:
        UserError: the data is wrong, or does not suffice for the run.
    """
    from hvdcore.classifier.prepare_command import prepare_with_progress

    data = prepare_with_progress(lambda progress: prepare(config, progress), names.samples)
    hand_over(config, data.path)
    n = len(data.train_subset(config.num_train_samples, names))
    check_schedule_of(config.resolved(n), n, num_ranks or 1, samples=names.samples)


def check_evaluation(path: Path, splits: Sequence[str]) -> RunDir:
    """Open a run with a saved model that is to be scored on these splits.

    Raises:
        UserError: there is none, or no such split.
    """
    problems = Problems()
    with problems.catching():
        check_split_names(splits)
    run = RunDir(path)
    with problems.catching():
        run = RunDir.open(path)
        load_classes(run.model)
    problems.raise_if_any()
    return run


def check_classes(found: Sequence[str], known: Sequence[str]) -> None:
    """Check that the data has the classes of the model, in their order.

    Raises:
        UserError: it has others.
    """
    if tuple(found) != tuple(known):
        raise UserError(
            f"data: its classes are {', '.join(found)}, but the model knows "
            f"{', '.join(known)}; give data with the same class names"
        )


def check_schedule_of(config: ClassifierConfig, n: int, size: int, *, samples: str) -> None:
    """Check the batch size and the learning-rate schedule for n train samples on `size` ranks.

    Args:
        samples: what the samples are called, in the plural.

    Raises:
        UserError: with every problem.
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
