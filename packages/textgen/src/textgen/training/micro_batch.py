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
    from textgen.training.optimizer import OptimizerConfig

__all__ = ["choose_rows", "largest_that_fits", "largest_that_runs", "recorded_rows"]

logger = get_logger(__name__)

MIB = 1 << 20
LATER_BYTES = 64 * MIB
"""What is loaded after the choice: measured on Linux with PyTorch 2.13, 40 MiB."""
USED_FRACTION = 0.75
"""Of the free memory: runs differ by a tenth, and the heap of a long one grows by as much again."""


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
    """Counted on rank 0 alone.

    Raises:
        UserError: on all ranks, one sequence is too many.
    """
    rows = largest_that_fits(memory, available, limit) if world.is_root else 0
    rows = int(broadcast_object(rows))
    if rows == 0:
        raise nothing_fits(memory, available)
    return rows


def nothing_fits(memory: RunMemory, available: int) -> UserError:
    """The error of a run that not even one sequence per forward pass fits."""
    least = memory.plan(1)
    return UserError(
        f"per_rank_batch_size: auto found nothing that fits: one sequence per forward pass takes "
        f"{least.bytes // MIB:,} MiB in the phase {least.peak.name!r}, and a rank can take "
        f"{_budget(available) // MIB:,} MiB; take a smaller model, more ranks or a host with more "
        "memory, or lower --eval-batch-size where the phase is evaluation"
    )


def _budget(available: int) -> int:
    return max(0, int((available - LATER_BYTES) * USED_FRACTION))


def largest_that_fits(memory: RunMemory, available: int, limit: int | None = None) -> int:
    """The most sequences per forward pass whose peak stays within the memory.

    Of the numbers that need as few passes it is the smallest, so that the passes are equal.

    Args:
        available: bytes that a rank can hold for the model, beside the framework.
        limit: the most to take.

    Returns:
        0 where one is too many.
    """
    budget = _budget(available)
    if not _fits(memory, 1, budget):
        return 0
    rows = memory.plan(limit, with_heap=False).rows  # fewer where the logits would be too many
    while not _fits(memory, rows, budget):
        # One more pass, so that the passes are equal.
        passes = -(-memory.share // rows) + 1
        rows = min(rows - 1, -(-memory.share // passes))
    return rows


def _fits(memory: RunMemory, rows: int, budget: int) -> bool:
    """The sum of sizes first: what the allocator takes is longer to find out."""
    return memory.plan(rows, with_heap=False).bytes <= budget and memory.plan(rows).bytes <= budget


def even_rows(share: int, rows: int) -> int:
    """As many passes over `share` sequences as `rows` at a time need, all about as large."""
    return -(-share // -(-share // rows))


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
    terms = memory.plan(1, with_heap=False).phases[0].terms
    held = sum(terms.get(term, 0) for term in RunMemory.HELD_BY_OPTIMIZER)

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
