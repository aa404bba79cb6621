"""Owns the few numbers that ride in the gradients' collective: sums to report and a stop flag.

They share the gradients' float32, so each sum travels as a rounded value and what rounding lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MAX_SUMS = 8
NUM_EXTRAS = 1 + 2 * MAX_SUMS


def write_extras(extras: Tensor, sums: Sequence[float], stop: bool) -> None:
    """Put this rank's numbers into extras [NUM_EXTRAS]."""
    if len(sums) > MAX_SUMS:
        raise ValueError(f"at most {MAX_SUMS} sums ride along, not {len(sums)}")
    values = torch.zeros(MAX_SUMS, dtype=torch.float64)
    values[: len(sums)] = torch.tensor(list(sums), dtype=torch.float64)
    rounded = values.to(extras.dtype)
    extras[0] = float(stop)
    extras[1 : 1 + MAX_SUMS] = rounded
    extras[1 + MAX_SUMS :] = values - rounded.double()


def read_extras(extras: Tensor, num_sums: int) -> tuple[tuple[float, ...], bool]:
    """The numbers summed over ranks, and whether some rank asked to stop."""
    values = extras.double().tolist()
    rounded, lost = values[1 : 1 + MAX_SUMS], values[1 + MAX_SUMS :]
    return tuple(a + b for a, b in zip(rounded, lost, strict=True))[:num_sums], values[0] > 0
