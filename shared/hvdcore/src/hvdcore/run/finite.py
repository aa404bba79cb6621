"""The first number of a training run that is not finite ends the run, on all ranks, in one line.

Nothing good comes after it: the weights are lost with the next update, and a checkpoint of them
would replace a good one.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hvdcore.errors import UserError

__all__ = ["check_finite", "rerun_command", "shown_samples"]

SAMPLES_SHOWN = 8


def check_finite(
    found: Mapping[str, float],
    *,
    step: int,
    is_finite_here: bool,
    gather: Callable[[bool], Sequence[object]],
    hint: str,
    explain: Callable[[], Sequence[str]] = tuple,
    rerun: Callable[[], str] = str,
) -> None:
    """Check numbers that are the same on all ranks, such as a loss that was summed over them.

    Args:
        found: the numbers by name.
        step: the update that they were computed for, from 1.
        is_finite_here: whether this rank's part of them is finite.
        gather: the values of all ranks, at least on rank 0, which tells the user; called on all
            ranks, and only if a number is not finite.
        hint: what to try.
        explain: what each rank finds in its part, at least on rank 0, "" where all is finite;
            called on all ranks, after `gather`.
        rerun: gives a command that makes the step again.

    Raises:
        UserError: on all ranks, the first number that is not finite, the step, the ranks, and what
            they found.
    """
    name = next((name for name, value in found.items() if not math.isfinite(value)), None)
    if name is None:
        return
    ranks = [rank for rank, finite in enumerate(gather(is_finite_here)) if not finite]
    explained = {rank: text for rank, text in enumerate(explain()) if text}
    # A gradient may have overflowed on a rank whose loss is finite.
    ranks = ranks or [*explained]
    where = f" on rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}" if ranks else ""
    if explained:
        rank, text = next(iter(explained.items()))
        where += f" ({f'rank {rank}: ' if len(ranks) > 1 else ''}{text})"
    command = rerun()
    again = f". To make this step again: {command}" if command else ""
    raise UserError(
        f"step {step}: the {name} is not finite ({found[name]}){where}; {hint}. Earlier "
        f"checkpoints are kept{again}"
    )


def shown_samples(indices: Sequence[int]) -> str:
    """`samples 3, 8, 11 of the train split`, of which the first eight are named."""
    shown = ", ".join(str(int(index)) for index in indices[:SAMPLES_SHOWN])
    more = len(indices) - SAMPLES_SHOWN
    shown += f" and {more} more" if more > 0 else ""
    return f"sample{'s' if len(indices) > 1 else ''} {shown} of the train split"


def rerun_command(command: str, run: Path, size: int, *, has_checkpoint: bool, mirror: bool) -> str:
    """A command that resumes a run from its newest checkpoint, in a directory of its own.

    Args:
        command: of the package, such as `textgen`.
        run: its directory.
        size: number of ranks.
        has_checkpoint: whether it has saved one; else the run begins anew.
        mirror: whether its configuration names one, which the command must not write to.
    """
    parts = [command, "train", "--config", str(run / "config.json")]
    parts += ["--output-dir", f"{run}-again"]
    parts += ["--resume", str(run)] if has_checkpoint else []
    parts += ["--np", str(size)] if size > 1 else []
    parts += ["--mirror", ""] if mirror else []
    return shlex.join(parts)
