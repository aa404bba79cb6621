"""The commands that all classifiers have: what each of them does with its options.

A package's command line names its own modules and passes them on; nothing is loaded before one is
called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hvdcore.classifier.config import ClassifierConfig, SampleNames
from hvdcore.config import load_config
from hvdcore.errors import Problems
from hvdcore.launch.launch import run_on_ranks
from hvdcore.launch.options import StartOptions
from hvdcore.run.start import check_output_dir
from hvdcore.tracking.tracker.fields import check_tracker

__all__ = ["run_evaluation", "run_training", "write_report_page"]

C = TypeVar("C", bound=ClassifierConfig)


def run_training(
    names: SampleNames,
    config_type: type[C],
    flags: dict[str, Any],
    *,
    check_data: Callable[[C, int | None], None],
    train: Callable[[C, Path | None, str], int],
    check_files: Callable[[C], None] = lambda config: None,
) -> int:
    """The command ``train``: check what can be checked here, then train on one rank or many.

    Args:
        flags: all options of the command by name, None where not given.
        check_data: prepares the data and checks the run against it, for a number of ranks.
        train: the work of a rank: the configuration, the run directory and what to resume.
        check_files: checks the files that the configuration names, which takes no time.

    Returns:
        The exit code.

    Raises:
        UserError: the input is wrong.
    """
    start = StartOptions.take(flags)
    output_dir, file = flags.pop("output_dir"), flags.pop("config")
    resume, show = flags.pop("resume") or "never", flags.pop("open")
    config = functools.cache(lambda: load_config(config_type, file, flags))

    def check() -> C:
        problems = Problems()
        if output_dir is not None:
            check_output_dir(output_dir, resume, problems)
        with problems.catching():
            check_files(config())
        with problems.catching():
            check_tracker(config().tracker)
        problems.raise_if_any()
        if start.needs_launcher:
            # A single rank checks when it begins. Checking here would load NumPy, and then the
            # process could not start again with the threads and the malloc settings it needs.
            check_data(config(), start.np)
        return config()

    def work() -> int:
        from hvdcore.run.live_report import ask_to_open

        if show:
            ask_to_open()
        return train(config(), output_dir, resume)

    return run_on_ranks(
        names.package, work, start, output_dir=output_dir, check=check,
    )  # fmt: skip


def run_evaluation(
    names: SampleNames,
    run_dir: Path,
    flags: dict[str, Any],
    *,
    check: Callable[[Path, Sequence[str]], object],
    evaluate: Callable[[Path, Sequence[str], dict[str, Any]], int],
) -> int:
    """The command ``evaluate``: score a saved model on one rank or many.

    Args:
        flags: all options of the command; what is left after those of the ranks and `split` are
            fields of the configuration, None where not given.
        check: checks the run and the names of the splits.
        evaluate: the work of a rank: the run, the names of the splits, and the changed fields.

    Returns:
        The exit code.

    Raises:
        UserError: the input is wrong.
    """
    start = StartOptions.take(flags)
    splits = flags.pop("split") or ["val", "test"]
    changes = {name: value for name, value in flags.items() if value is not None}
    return run_on_ranks(
        names.package, lambda: evaluate(run_dir, splits, changes), start,
        check=lambda: check(run_dir, splits),
    )  # fmt: skip


def write_report_page(names: SampleNames, runs: Sequence[Path], output_dir: Path | None) -> Path:
    """The command ``report``: one page about a run, or about several; see `report_runs`."""
    from hvdcore.classifier.report import write_report
    from hvdcore.run.pages import report_runs

    return report_runs(runs, output_dir, lambda paths, page: write_report(paths, page, names))
