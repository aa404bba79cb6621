"""Owns whether a model fits this machine, before the machine is out of memory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from hvdcore.errors import UserError

__all__ = ["check_memory", "memory_bytes"]

_BYTES_PER_PARAMETER = 8
"""The least that training holds on each rank: a float32 weight and its gradient."""

_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


def check_memory(num_parameters: int, num_ranks: int, available: int | None = None) -> None:
    """Refuse a model whose weights and gradients alone are more than this machine holds.

    Without it the kernel ends the run, or a neighbour, when the memory is gone.

    Args:
        num_ranks: ranks on this machine, each of which holds the model.
        available: bytes; None is what the machine or the container has.

    Raises:
        UserError: it does not fit.
    """
    needed = num_parameters * num_ranks * _BYTES_PER_PARAMETER
    available = memory_bytes() if available is None else available
    if needed > available:
        ranks = "this rank" if num_ranks == 1 else f"the {num_ranks} ranks of this machine"
        raise UserError(
            f"model: {num_parameters:,} parameters and their gradients take {_gigabytes(needed)} "
            f"on {ranks}, which has {_gigabytes(available)}; lower --embed-dim, --mlp-dim, "
            "--num-layers or --vocab-size"
        )


def memory_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory of the machine, or of the container if that has less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int((cgroup / name).read_text()))
    return min(limits)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
