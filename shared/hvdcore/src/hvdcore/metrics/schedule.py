"""Learning rate schedules as pure functions of the step."""

from __future__ import annotations

import math
from typing import Literal

from hvdcore.errors import Problems

__all__ = ["Shape", "check_schedule", "learning_rate_at"]

Shape = Literal["cosine", "linear", "constant"]


def learning_rate_at(
    step: int,
    *,
    peak: float,
    warmup_steps: int,
    total_steps: int,
    final_fraction: float,
    shape: Shape,
) -> float:
    """The learning rate of the update that starts after `step` updates have been made.

    Warm-up is linear and no update is wasted on a rate of zero: update 0 has
    `peak / (warmup_steps + 1)` and update `warmup_steps` is the first at `peak`. From there the
    rate falls along `shape` to `peak * final_fraction`, which belongs to step `total_steps`,
    just after the last update, and stays there. Nothing depends on the number of ranks.

    Args:
        step: number of updates made before, 0 or more.
        peak: the highest rate.
        warmup_steps: updates before the peak; 0 starts at the peak.
        total_steps: updates of the whole run.
        final_fraction: the share of `peak` at the end (0 decays to zero); `constant` ignores it.
        shape: `cosine` (Loshchilov & Hutter 2017, eq. 5, one cycle), `linear` or `constant`.

    Returns:
        The rate as a float, exactly `peak` and `peak * final_fraction` at the two ends.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    if shape == "constant":
        return peak
    if step >= total_steps:
        return peak * final_fraction
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    remaining = 1.0 - progress if shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return peak * (final_fraction + (1.0 - final_fraction) * remaining)


def check_schedule(
    *, peak: float, warmup_steps: int, total_steps: int, final_fraction: float
) -> None:
    """Check the schedule's numbers against one another, once the total is known.

    Raises:
        UserError: naming every number that cannot be.
    """
    problems = Problems()
    if not (math.isfinite(peak) and peak > 0):
        problems.add("learning_rate", f"got {peak}; give a number above 0")
    if not 0 <= warmup_steps < max(total_steps, 1):
        problems.add(
            "warmup_steps",
            f"got {warmup_steps} in a run of {total_steps} steps; give at most {total_steps - 1}",
        )
    if not 0.0 <= final_fraction <= 1.0:
        problems.add("final_fraction", f"got {final_fraction}; give a number from 0 to 1")
    problems.raise_if_any()
