"""The run directory at the start: created, or resumed from a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hvdcore.errors import Problems, UserError
from hvdcore.run.checkpoint import (
    Checkpoint,
    Mirror,
    check_mirror,
    clean_up,
    discard_after,
    latest_valid,
    load,
    require_same_run,
    resolve_resume,
)
from hvdcore.run.lock import refuse_if_held
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.environment import RESTART
from hvdcore.runtime.world import World

__all__ = ["check_output_dir", "start_run"]


def check_output_dir(
    path: Path, resume: str, problems: Problems, mirror: str | None = None
) -> None:
    """Look at the folders that the flags name before hours of work begin, on rank 0 alone.

    Args:
        problems: takes it in if the run's directory `path` is in use, by a run or by files, or if
            nothing is where `resume` says.
        mirror: URL of the copies of the checkpoints, which is looked at too.
    """
    if not _is_utf8(path):
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        problems.add("output_dir", f"{shown}: not UTF-8, and weights cannot be read from there;"
                     " give another name")  # fmt: skip
        return
    run = RunDir(path)
    found = None
    try:
        refuse_if_held(path)
    except UserError as error:
        problems.extend(error)
        return  # what is in there changes all the time
    with problems.catching():
        found = _named(run, resume)
    resuming = resume == "auto" or _restarted() or _is_own(run, found)
    with problems.catching():
        run.check_free(resuming=resuming)
    check_mirror(mirror, resuming=resuming, problems=problems)


def _check_same_run(
    run: RunDir, package: str, fingerprint: Mapping[str, Any], found: Checkpoint
) -> None:
    """`require_same_run`; of a run's own checkpoint it also says where its settings are.

    Raises:
        UserError: the checkpoint is another run's, or this run's with other settings.
    """
    try:
        require_same_run(fingerprint, found.meta)
    except UserError as error:
        own = found.path.is_relative_to(run.path) and run.config.is_file()
        hint = f"resume: without its own settings a run cannot go on; add --config {run.config}"
        if package == "hvdcore":  # a script that is no trainer of ours has no --config
            hint = f"resume: a run cannot go on with other settings than those in {run.config}"
        raise UserError(*error.problems, *([hint] if own else [])) from None


def _is_utf8(path: Path) -> bool:
    """safetensors, for one, opens no other names."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _restarted() -> bool:
    """Whether the launcher started the run again: its directory is then its own, and its newest
    whole checkpoint comes before what `--resume` said at the start."""
    return bool(os.environ.get(RESTART))


def _named(run: RunDir, resume: str) -> Checkpoint | None:
    """The checkpoint that `resume` names by its path."""
    return None if resume in ("auto", "never") else resolve_resume(run, resume)


def _is_own(run: RunDir, checkpoint: Checkpoint | None) -> bool:
    """Whether a checkpoint is one of the run itself."""
    return checkpoint is not None and run.checkpoints.resolve() == checkpoint.path.parent.resolve()


def start_run(
    path: Path,
    package: str,
    config: Any,
    resume: str,
    *,
    fingerprint: Mapping[str, Any],
    world: World,
    broadcast: Callable[[str], str],
    mirror: Mirror | None = None,
) -> tuple[RunDir, Checkpoint | None]:
    """The run's directory and the checkpoint to resume from, if any. Every rank must call.

    Rank 0 makes or tidies the directory and chooses; the others follow. A checkpoint that is
    refused leaves the directory as it was.

    Args:
        package: the distribution that trains.
        config: the resolved configuration, as `RunDir.create` takes it.
        resume: `never`, `auto` or a path, as `resolve_resume` takes it.
        fingerprint: what a checkpoint's meta.json must hold for this run to resume from it.
        broadcast: gives every rank rank 0's text (the adapter's `broadcast_object`).
        mirror: of the run's checkpoints; `auto` fetches from there what is newer than on the disk.

    Raises:
        UserError: the directory is in use or cannot be written, or the checkpoint is not whole or
            another run's.
    """
    run = RunDir(path)
    chosen = ""
    if world.is_root:
        if mirror is not None and (resume == "auto" or _restarted()):
            mirror.fetch(run.checkpoints, fingerprint)
        found = latest_valid(run.checkpoints) if _restarted() else None
        found = found or resolve_resume(run, resume)
        goes_on = resume == "auto" or _restarted() or _is_own(run, found)
        begun = latest_valid(run.pretraining) if goes_on and found is None else found
        if begun is not None:
            _check_same_run(run, package, fingerprint, begun)
        RunDir.create(path, package, config, resuming=goes_on)
        clean_up(run.checkpoints)
        if goes_on:
            step = -1 if found is None else found.step
            discard_after(run.checkpoints, step)
            run.trim_metrics(step)
            if mirror is not None:
                mirror.discard_after(step)
        chosen = "" if found is None else str(found.path)
    chosen = broadcast(chosen)
    return run, load(Path(chosen)) if chosen else None
