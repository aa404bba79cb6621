"""Owns `hvdcore slurm`: what the command line asks for, checked, becomes a script."""

from __future__ import annotations

import sys
from pathlib import Path

from hvdcore.errors import Problems, UserError
from hvdcore.launch.sbatch.request import Request
from hvdcore.launch.sbatch.script import batch_script
from hvdcore.launch.sbatch.trainer import TrainerCommand

__all__ = ["write_batch_script"]


def write_batch_script(request: Request, command: list[str], output: Path | None) -> None:
    """Print the script, or write it to a file.

    Raises:
        UserError: Slurm or the trainer would refuse it; all problems at once. The file cannot be
            written.
    """
    trainer = TrainerCommand(tuple(command))
    problems = Problems()
    request.check(problems)
    trainer.check(
        problems, array=request.array is not None, elsewhere=request.container is not None
    )
    problems.raise_if_any()
    text = batch_script(request, trainer)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"--output: cannot write {output} ({error.strerror}); give another"
        ) from None
