"""Owns estimates of what an update costs, to share parameters out among ranks.

In nanoseconds on one core of about 60 GFLOP/s; only their ratio matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod


def elementwise_cost(shape: Sequence[int]) -> float:
    """AdamW and its like: some 12 reads and writes of memory an element."""
    return 2_000.0 + 3.0 * prod(shape)


def newton_schulz_cost(shape: Sequence[int], iterations: int = 5) -> float:
    """Muon: 2 x (2 r^2 c) + 2 r^3 operations an iteration on r x c, r <= c."""
    rows, columns = sorted(shape)
    operations = iterations * (4 * rows * rows * columns + 2 * rows**3)
    return elementwise_cost(shape) + operations / 60.0
