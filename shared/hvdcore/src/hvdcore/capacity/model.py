"""Owns the cost of an allreduce over a network, and finding a network from measured costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from hvdcore.errors import UserError

__all__ = ["Network", "Timing", "fit_network"]


@dataclass(frozen=True)
class Timing:
    """An allreduce of so many bytes took so many seconds."""

    num_bytes: int
    seconds: float


@dataclass(frozen=True)
class Network:
    """The links between neighbours of a ring.

    Attributes:
        latency_seconds: of one message, with all that a library adds to it.
        bytes_per_second: of one link, in each direction.
    """

    latency_seconds: float
    bytes_per_second: float

    def __post_init__(self) -> None:
        if self.latency_seconds < 0:
            raise UserError(f"latency: got {self.latency_seconds:g} s; give 0 or more")
        if not self.bytes_per_second > 0:
            raise UserError(f"bandwidth: got {self.bytes_per_second:g} bytes/s; give above 0")

    def allreduce_seconds(self, num_bytes: float, size: int) -> float:
        """A ring of `size` ranks sums `num_bytes`: 2 (N - 1) messages one after another, each of
        the N-th part (Patarasuk & Yuan 2009). Neighbours on one host share no link with others,
        so the ranks of a host do not count."""
        messages = 2 * (size - 1)
        return messages * (self.latency_seconds + num_bytes / size / self.bytes_per_second)

    def allgather_seconds(self, num_bytes: float, size: int, largest: float = 0.0) -> float:
        """A ring of `size` ranks gathers parts of `num_bytes` in all: each part makes N - 1 hops,
        and is whole at one rank before it goes on to the next, so the largest part sets the pace.
        Two ranks have one connection, and over Gloo as over MPI their parts were seen to go one
        after the other.

        Args:
            largest: bytes that are never cut; no part is smaller.
        """
        hops = 2 if size == 2 else size - 1
        part = max(num_bytes / size, largest)
        return hops * (self.latency_seconds + part / self.bytes_per_second)


def fit_network(timings: Sequence[Timing], size: int) -> Network:
    """The network that explains timings of `size` ranks: the median slope of all pairs, and the
    median of what it leaves (Theil 1950, Sen 1968). A timing that another program disturbed, or
    that a buffer on the way took in one piece, does not count.

    Raises:
        ValueError: less than two sizes, or a single rank: nothing was sent.
    """
    if size < 2 or len({timing.num_bytes for timing in timings}) < 2:
        raise ValueError("give timings of two ranks or more, and of two sizes or more")
    messages = 2 * (size - 1)
    points = [(timing.num_bytes / size, timing.seconds / messages) for timing in timings]
    slopes = [(t - s) / (n - m) for (m, s), (n, t) in combinations(points, 2) if m != n]
    per_byte = max(median(slopes), 1e-15)
    latency = median(seconds - num_bytes * per_byte for num_bytes, seconds in points)
    return Network(max(latency, 0.0), 1.0 / per_byte)
