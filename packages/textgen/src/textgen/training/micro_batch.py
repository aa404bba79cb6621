"""``--per-rank-batch-size auto``: as many sequences per forward pass as fit into memory.

The global batch stays what it is: a rank's share of it goes through the model in several passes,
whose gradients add up. All ranks take the same number, the smallest that one of them can.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hvdcore.errors import UserError
from hvdcore.runtime.environment import RESTART
from hvdcore.runtime.memory import free_memory_bytes
from hvdcore.torch import any_rank, barrier, broadcast_object, gather_objects
from hvdcore.torch.live_bytes import fake_copy
from hvdcore.tracking.logs import get_logger
from textgen.training.memory import RunMemory

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.config import TrainConfig
    from textgen.model.language_model import LanguageModel
    from textgen.training.memory import MemoryPlan
    from textgen.training.optimizer import OptimizerConfig

__all__ = ["choose_rows", "largest_that_fits", "largest_that_runs", "recorded_rows"]

logger = get_logger(__name__)

MIB = 1 << 20
USED_FRACTION = 0.9
"""Of the free memory: what is counted and what is measured differ by up to a tenth."""


def choose_rows(
    model: LanguageModel,
    config: TrainConfig,
    settings: OptimizerConfig,
    world: World,
    *,
    device: torch.device,
    dtype: torch.dtype,
    recorded: int | None = None,
) -> int:
    """Sequences per forward pass, the same on all ranks. Every rank must call.

    Args:
        model: built, on the device, before there is an optimizer.
        recorded: what the run that is resumed took; not exceeded, so that it goes on the same.

    Raises:
        UserError: on all ranks, not even one sequence fits.
    """
    memory = RunMemory(
        lambda fake: fake_copy(model.cpu() if device.type == "cuda" else model, fake),
        config, settings, size=world.size, local_size=world.local_size, dtype=dtype,
    )  # fmt: skip
    if device.type == "cuda":
        model.to(device)
        rows = _by_trial(model, memory, config, device=device, dtype=dtype, limit=recorded)
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = _smallest_free(world)
        rows = _by_count(memory, free + memory.model_bytes, world, recorded)
    logger.info(
        "per_rank_batch_size auto: %d sequences per forward pass of the %d a rank has; %d MiB free",
        rows, memory.share, free // MIB,
    )  # fmt: skip
    return rows


def _smallest_free(world: World) -> int:
    """Free memory for each rank, on the host that has the least."""
    barrier()  # by now every rank holds its model
    found = gather_objects(free_memory_bytes() // world.local_size)
    return int(broadcast_object(min(found) if found else 0))


def _by_count(memory: RunMemory, available: int, world: World, limit: int | None) -> int:
    """Counted on rank 0 alone."""
    rows, problem = 0, ""
    if world.is_root:
        try:
            rows = largest_that_fits(memory, available, limit)
        except UserError as error:
            problem = error.problems[0]
    rows, problem = broadcast_object([rows, problem])
    if problem:
        raise UserError(problem)
    return int(rows)


def largest_that_fits(memory: RunMemory, available: int, limit: int | None = None) -> int:
    """The most sequences per forward pass whose peak stays within the memory.

    Of the numbers that need as few passes it is the smallest, so that the passes are equal.

    Args:
        available: bytes that a rank can hold for the model, beside the framework.
        limit: the most to take.

    Raises:
        UserError: one is too many, or an evaluation is.
    """
    budget = int(available * USED_FRACTION)
    least = memory.plan(1)
    if least.peak.bytes > budget:
        raise UserError(_too_much(least, budget))
    low, high = 1, min(memory.share, limit or memory.share)
    high = memory.plan(high).rows  # fewer where the logits would be too many
    while low < high:
        middle = (low + high + 1) // 2
        if memory.plan(middle).peak.bytes <= budget:
            low = middle
        else:
            high = middle - 1
    return low if low == limit else even_rows(memory.share, low)


def even_rows(share: int, rows: int) -> int:
    """As many passes over `share` sequences as `rows` at a time need, all about as large."""
    return -(-share // -(-share // rows))


def _too_much(plan: MemoryPlan, budget: int) -> str:
    needed = f"{plan.peak.bytes // MIB:,} MiB in the phase {plan.peak.name!r}"
    fix = "take a smaller model, more ranks, or a host with more memory"
    if plan.peak.name == "evaluation":
        fix = "lower --eval-batch-size"
    return (
        f"per_rank_batch_size: auto found nothing that fits: one sequence per forward pass takes "
        f"{needed}, and a rank can take {budget // MIB:,} MiB; {fix}"
    )


def _by_trial(
    model: LanguageModel,
    memory: RunMemory,
    config: TrainConfig,
    *,
    device: torch.device,
    dtype: torch.dtype,
    limit: int | None,
) -> int:
    """By forward and backward passes on the GPU, beside what the optimizer will hold."""
    held = sum(memory.plan(1).peak.terms.get(term, 0) for term in RunMemory.HELD_BY_OPTIMIZER)

    def attempt(rows: int) -> None:
        reserved = torch.empty(held, dtype=torch.uint8, device=device)
        tokens = torch.zeros(rows, config.context_length, dtype=torch.int64, device=device)
        half = dtype == torch.bfloat16
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            loss = model.loss(tokens, tokens)
        loss.backward()
        del reserved

    def runs(rows: int) -> bool:
        with torch.random.fork_rng([device]):  # of a model with dropout
            fits = attempts(attempt, rows)
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        return not any_rank(not fits)

    return largest_that_runs(runs, memory.share, min(limit or memory.share, memory.share))


def attempts(work: Callable[[int], None], rows: int) -> bool:
    """Whether the work fits into the device's memory."""
    with contextlib.suppress(torch.OutOfMemoryError):
        work(rows)
        return True
    return False


def largest_that_runs(runs: Callable[[int], bool], share: int, limit: int) -> int:
    """The share in one pass, or in 2, 4, 8 ... equal ones, the first that runs.

    Args:
        runs: whether so many sequences fit; the same on all ranks.

    Raises:
        UserError: one is too many.
    """
    rows = limit
    while not runs(rows):
        if rows == 1:
            raise UserError(
                "per_rank_batch_size: auto found nothing that fits: one sequence per forward pass "
                "is too much for this GPU; take a smaller model or more ranks"
            )
        rows = even_rows(share, max(1, rows // 2))
    return rows


def recorded_rows(output_dir: Path, resume: str) -> int | None:
    """What the run that is resumed took, from its config.json; None where it does not say.

    Args:
        resume: as `train` takes it.
    """
    places = [output_dir] if resume == "auto" or os.environ.get(RESTART) else []
    if resume not in ("auto", "never"):
        places += [Path(resume), *Path(resume).parents[:2]]  # a run, or a checkpoint in it
    for place in places:
        with contextlib.suppress(OSError, ValueError):
            values = json.loads((place / "config.json").read_text("utf-8"))
            rows = values.get("per_rank_batch_size")
            return rows if isinstance(rows, int) else None
    return None
