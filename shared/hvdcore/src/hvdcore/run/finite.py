"""The first number of a training run that is not finite ends the run, on all ranks, in one line.

Nothing good comes after it: the weights are lost with the next update, and a checkpoint of them
would replace a good one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from hvdcore.errors import UserError

__all__ = ["check_finite"]


def check_finite(
    found: Mapping[str, float],
    *,
    step: int,
    is_finite_here: bool,
    gather: Callable[[bool], Sequence[object]],
    hint: str,
) -> None:
    """Check numbers that are the same on all ranks, such as a loss that was summed over them.

    Args:
        found: the numbers by name.
        step: the update that they were computed for, from 1.
        is_finite_here: whether this rank's part of them is finite.
        gather: the values of all ranks, at least on rank 0, which tells the user; called on all
            ranks, and only if a number is not finite.
        hint: what to try.

    Raises:
        UserError: on all ranks, the first number that is not finite, the step and the ranks.
    """
    name = next((name for name, value in found.items() if not math.isfinite(value)), None)
    if name is None:
        return
    ranks = [str(rank) for rank, finite in enumerate(gather(is_finite_here)) if not finite]
    where = f" on rank{'s' if len(ranks) > 1 else ''} {', '.join(ranks)}" if ranks else ""
    raise UserError(
        f"step {step}: the {name} is not finite ({found[name]}){where}; {hint}. Earlier "
        "checkpoints are kept"
    )
