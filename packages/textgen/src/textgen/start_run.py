"""The run directory at the start of a job: made anew, or taken up where a checkpoint left it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvdcore.checkpoint import Checkpoint, clean_up, discard_after, load, resolve_resume
from hvdcore.errors import Problems, UserError
from hvdcore.run_dir import RunDir
from hvdcore.torch import broadcast_object
from textgen.saved_model import model_folder

if TYPE_CHECKING:
    from pathlib import Path

    from hvdcore.world import World
    from textgen.config import TrainConfig


def check_places(path: Path, config: TrainConfig, resume: str) -> None:
    """Look at every folder that the flags name, before hours of work begin. Rank 0 alone.

    Raises:
        UserError: the run's directory is in use, or nothing is where ``--resume`` or
            ``--init-from`` say; all of it at once.
    """
    problems = Problems()
    run = RunDir(path)
    found = None
    with problems.catching():
        found = None if resume in ("auto", "never") else resolve_resume(run, resume)
    with problems.catching():
        run.check_free(resuming=resume == "auto" or is_own(run, found))
    if config.init_from is not None:
        try:
            model_folder(config.init_from)
        except UserError as error:
            problems.add("init_from", error.problems[0])
    problems.raise_if_any()


def is_own(run: RunDir, checkpoint: Checkpoint | None) -> bool:
    """Whether a checkpoint is one of the run itself."""
    return checkpoint is not None and run.checkpoints.resolve() == checkpoint.path.parent.resolve()


def start_run(
    path: Path, config: TrainConfig, resume: str, world: World
) -> tuple[RunDir, Checkpoint | None]:
    """The run's directory and the checkpoint to go on from, if any. Every rank must call.

    Rank 0 makes or tidies the directory and chooses; the others follow.

    Raises:
        UserError: the directory is in use or cannot be written, or the checkpoint is not whole.
    """
    run = RunDir(path)
    chosen = ""
    if world.is_root:
        found = None if resume in ("auto", "never") else resolve_resume(run, resume)
        own = is_own(run, found)
        RunDir.create(path, "textgen", config, resuming=resume == "auto" or own)
        clean_up(run.checkpoints)
        found = found or resolve_resume(run, resume)
        if resume == "auto" or own:
            step = -1 if found is None else found.step
            discard_after(run.checkpoints, step)
            run.trim_metrics(step)
        chosen = "" if found is None else str(found.path)
    chosen = broadcast_object(chosen)
    return run, load(type(path)(chosen)) if chosen else None
