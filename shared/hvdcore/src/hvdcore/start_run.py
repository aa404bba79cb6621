"""Owns the run directory at the start: made anew, or taken up where a checkpoint left it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hvdcore.checkpoint import Checkpoint, clean_up, discard_after, load, resolve_resume
from hvdcore.run_dir import RunDir
from hvdcore.world import World

__all__ = ["start_run"]


def start_run(
    path: Path,
    package: str,
    config: Any,
    resume: str,
    *,
    world: World,
    broadcast: Callable[[str], str],
) -> tuple[RunDir, Checkpoint | None]:
    """The run's directory and the checkpoint to go on from, if any. Every rank must call.

    Rank 0 makes or tidies the directory and chooses; the others follow.

    Args:
        package: the distribution that trains.
        config: the resolved configuration, as `RunDir.create` takes it.
        resume: `never`, `auto` or a path, as `resolve_resume` takes it.
        broadcast: gives every rank rank 0's text (the adapter's `broadcast_object`).

    Raises:
        UserError: the directory is in use or cannot be written, or the checkpoint is not whole.
    """
    run = RunDir(path)
    chosen = ""
    if world.is_root:
        found = None if resume in ("auto", "never") else resolve_resume(run, resume)
        own = found is not None and run.checkpoints.resolve() == found.path.parent.resolve()
        RunDir.create(path, package, config, resuming=resume == "auto" or own)
        clean_up(run.checkpoints)
        found = found or resolve_resume(run, resume)
        if resume == "auto" or own:
            step = -1 if found is None else found.step
            discard_after(run.checkpoints, step)
            run.trim_metrics(step)
        chosen = "" if found is None else str(found.path)
    chosen = broadcast(chosen)
    return run, load(Path(chosen)) if chosen else None
