"""What `--resume auto|never|PATH` means, and the checks that a checkpoint fits a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hvdcore.errors import Problems, UserError
from hvdcore.files.json_files import json_safe
from hvdcore.run.checkpoint.store import Checkpoint, latest_valid, load, newest_first
from hvdcore.run.run_dir import RunDir
from hvdcore.tracking.logs import get_logger

__all__ = [
    "require_same",
    "require_same_run",
    "resolve_resume",
]

_logger = get_logger(__name__)

EARLIER = {"optimizer": "adamw"}
"""What the runs had whose checkpoints do not say it."""


def resolve_resume(run_dir: RunDir | Path, resume: str | Path) -> Checkpoint | None:
    """The checkpoint that `--resume` means, verified; None starts from scratch.

    Args:
        run_dir: this run's directory.
        resume: `never`: None. `auto`: the newest valid checkpoint of this run, or None when it
            has none, which is logged. Anything else is a path: a checkpoint, a folder of
            checkpoints or a run directory (its newest valid one).

    Raises:
        UserError: when a path holds no valid checkpoint, or all of this run's are damaged.
    """
    run = run_dir if isinstance(run_dir, RunDir) else RunDir(run_dir)
    if str(resume) == "never":
        return None
    if str(resume) == "auto":
        found = latest_valid(run.checkpoints)
        if found is None and newest_first(run.checkpoints):
            # The first step would delete them, and a disk that fails now may not fail later.
            raise UserError(
                f"resume: {run.checkpoints}: every checkpoint in it is damaged; copy one from a"
                " backup or --mirror, or delete them to train from scratch"
            )
        if found is None:
            _logger.info(
                "resume auto: no checkpoint in %s; training starts from scratch", run.checkpoints
            )
        else:
            _logger.info("resume auto: resuming from step %d (%s)", found.step, found.path)
        return found
    return _at_path(Path(resume))


def require_same(meta_field: str, expected: Any, got: Any) -> None:
    """Check that a checkpoint was written by a run like this one.

    Args:
        meta_field: the name of what is compared, such as `num_layers`.
        expected: what this run asks for; of mappings, only the values that differ are reported.
        got: what the checkpoint holds.

    Raises:
        UserError: when they differ, with both values.
    """
    differing = list(_differences(meta_field, json_safe(expected), json_safe(got)))
    if differing:
        raise UserError(
            *(
                f"{name}: the checkpoint was written with {there!r}, this run asks for {here!r};"
                f" give {there!r}, or start from scratch in another --output-dir"
                for name, here, there in differing
            )
        )


def require_same_run(fingerprint: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Check every field of `fingerprint` with `require_same`.

    Args:
        fingerprint: field to what this run asks for.
        meta: the checkpoint's meta.json.

    Raises:
        UserError: when any differs; all of them at once.
    """
    problems = Problems()
    for name, expected in fingerprint.items():
        with problems.catching():
            require_same(name, expected, meta.get(name, EARLIER.get(name)))
    problems.raise_if_any()


def _differences(name: str, here: Any, there: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for key in dict.fromkeys((*here, *there)):
            yield from _differences(f"{name}.{key}", here.get(key), there.get(key))
    elif here != there:
        yield name, here, there


def _at_path(path: Path) -> Checkpoint:
    if not path.is_dir():
        raise UserError(f"resume: {path}: no such directory; give a run, a checkpoint or auto")
    if (path / "config.json").is_file() or (path / "checkpoints").is_dir():
        path = path / "checkpoints"
    if any(path.glob("step-*")):
        found = latest_valid(path)
        if found is not None:
            return found
        raise UserError(
            f"resume: {path}: every checkpoint in it is half-written or damaged; give"
            " another run, or start from scratch (--resume never)"
        )
    if not path.is_dir() or not any(path.iterdir()):
        raise UserError(f"resume: {path}: holds no checkpoint; give a run that has saved one")
    try:
        return load(path)
    except UserError as error:
        raise UserError(*(f"resume: {problem}" for problem in error.problems)) from error
