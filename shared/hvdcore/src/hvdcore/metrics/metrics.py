"""Metrics over ranks: sums and counts are reduced, never means of means. Peak memory."""

from __future__ import annotations

import math
import resource
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.runtime.world import World

__all__ = [
    "AllReduce",
    "Totals",
    "bits_per_byte",
    "max_over_ranks",
    "peak_resident_bytes",
    "perplexity",
]

AllReduce = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""Adds up an array over all ranks: float64 [n] in, float64 [n] out."""


class Totals:
    """Named (sum, count) pairs in float64; divided once, after they have crossed the ranks.

    Counts below 2**53 stay exact. Name every quantity at construction: a rank whose shard is
    empty adds nothing and must still send its zeros.

    Args:
        *names: the quantities; more may come with `add`, but then on every rank.

    Example:
        >>> totals = Totals("loss")
        >>> totals.add("loss", 6.0, 3)
        >>> totals.add("loss", 2.0, 1)
        >>> totals.mean("loss")
        2.0
    """

    def __init__(self, *names: str) -> None:
        self._pairs: dict[str, tuple[float, float]] = dict.fromkeys(names, (0.0, 0.0))

    def add(self, name: str, sum: float, count: float) -> None:
        """Add a batch's sum and the number of things summed (samples, tokens)."""
        old_sum, old_count = self._pairs.get(name, (0.0, 0.0))
        self._pairs[name] = (old_sum + float(sum), old_count + float(count))

    def reduce(self, allreduce: AllReduce) -> None:
        """Replace the pairs by their sums over all ranks. Every rank must call; one allreduce.

        Args:
            allreduce: sums a float64 array over the ranks (`hvdcore.torch.allreduce_sum`).

        Raises:
            RuntimeError: when the ranks hold different names, which would mix up their numbers.
        """
        names = sorted(self._pairs)
        fingerprint = float(zlib.crc32("\0".join(names).encode()))
        flat = [value for name in names for value in self._pairs[name]]
        sent = np.array([1.0, fingerprint, *flat], dtype=np.float64)
        got = np.asarray(allreduce(sent), dtype=np.float64)
        num_ranks = got[0]
        if got.shape != sent.shape or got[1] != num_ranks * fingerprint:
            raise RuntimeError(f"the ranks hold different metrics; this one holds {names}")
        self._pairs = {
            name: (float(got[2 + 2 * i]), float(got[3 + 2 * i])) for i, name in enumerate(names)
        }

    def sum(self, name: str) -> float:
        """The sum of a quantity so far."""
        return self._pairs[name][0]

    def count(self, name: str) -> float:
        """The count of a quantity so far."""
        return self._pairs[name][1]

    def mean(self, name: str) -> float:
        """Sum / count.

        Raises:
            ZeroDivisionError: naming the quantity, when nothing was counted.
        """
        total, count = self._pairs[name]
        if count == 0:
            raise ZeroDivisionError(f"no {name!r} was counted, so it has no mean")
        return total / count

    def means(self) -> dict[str, float]:
        """Every quantity's mean by name."""
        return {name: self.mean(name) for name in self}

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def to_json(self) -> dict[str, list[float]]:
        """{name: [sum, count]}, to be kept in a checkpoint in mid-epoch."""
        return {name: list(pair) for name, pair in self._pairs.items()}

    @classmethod
    def from_json(cls, pairs: Mapping[str, list[float]]) -> Totals:
        """The inverse of `to_json`."""
        totals = cls()
        for name, (total, count) in pairs.items():
            totals.add(name, total, count)
        return totals


def perplexity(nll_sum: float, count: float) -> float:
    """exp(total NLL / total tokens), NLL in nats; infinite where a float64 cannot hold it.

    Raises:
        ZeroDivisionError: when no token was counted.
    """
    if count == 0:
        raise ZeroDivisionError("no token was counted, so there is no perplexity")
    try:
        return math.exp(nll_sum / count)
    except OverflowError:
        return math.inf


def bits_per_byte(nll_sum_nats: float, num_bytes: float) -> float:
    """Total NLL in bits / bytes of the original UTF-8 text: comparable across tokenizers.

    Raises:
        ZeroDivisionError: when the text has no byte.
    """
    if num_bytes == 0:
        raise ZeroDivisionError("the text has no byte, so there are no bits per byte")
    return nll_sum_nats / (math.log(2.0) * num_bytes)


def max_over_ranks(value: float, world: World, allreduce: AllReduce) -> float:
    """The largest of the ranks' values. Every rank must call.

    Args:
        allreduce: sums a float64 array over the ranks (the adapter's `allreduce_sum`).
    """
    values = np.zeros(world.size)
    values[world.rank] = value
    return float(allreduce(values).max())


def peak_resident_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The high-water mark of this process's resident memory, in bytes.

    Linux's `ru_maxrss` outlives exec, so that a small process started by a large one would be as
    large; `VmHWM` does not.
    """
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024  # "   2080 kB"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
