"""The model behind `hvdcore plan`: an allreduce over a network beside a step's compute time.

Fits the network to measured costs, and predicts throughput, efficiency and cost for each number of
ranks.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median
from typing import Any

from hvdcore.errors import UserError
from hvdcore.run.run_dir import RunDir

__all__ = [
    "Gradient",
    "Network",
    "Prediction",
    "Shards",
    "Timing",
    "Workload",
    "fit_network",
    "predict",
    "workload_of_run",
]


@dataclass(frozen=True)
class Timing:
    """The measured seconds of an allreduce of this many bytes."""

    num_bytes: int
    seconds: float


@dataclass(frozen=True)
class Network:
    """The links between neighbors of a ring.

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
        the N-th part (Patarasuk & Yuan 2009). Neighbors on one host share no link with others,
        so the ranks of a host do not count."""
        messages = 2 * (size - 1)
        return messages * (self.latency_seconds + num_bytes / size / self.bytes_per_second)

    def allgather_seconds(self, num_bytes: float, size: int, largest: float = 0.0) -> float:
        """A ring of `size` ranks gathers parts of `num_bytes` in all: each part makes N - 1 hops,
        and is whole at one rank before it goes on to the next, so the largest part sets the pace.

        Bringing all ranks' gradients to their owners takes as long: each owner receives its part
        from N - 1 others.

        Args:
            largest: bytes that are never cut; no part is smaller.
        """
        part = max(num_bytes / size, largest)
        return (size - 1) * (self.latency_seconds + part / self.bytes_per_second)


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


KINDS = ("data", "compute", "update", "communicate")
"""Of a step's seconds in metrics.jsonl."""


@dataclass(frozen=True)
class Gradient:
    """Bytes that can be summed from `ready_seconds` after the step's beginning on."""

    num_bytes: float
    ready_seconds: float


FORWARD_SHARE = 1 / 3
"""Of a step's compute time: a matrix product of the forward pass has two in the backward pass."""


@dataclass(frozen=True)
class Shards:
    """Buckets that are sent while ranks compute: gradients to their owners during the backward
    pass, parameters to all ranks during the next forward pass.

    Attributes:
        num_bytes: of all gradients, and of all parameters.
        bucket_bytes: the least size of a bucket.
        part_bytes: the least size of a rank's part of a bucket.
        largest: bytes of the largest tensor that has one owner; 0 where ranks share each.
        hierarchical: whether hosts of equally many ranks add up gradients before they send them,
            as `ShardedOptimizer` decides and reports.
    """

    num_bytes: float
    bucket_bytes: float
    part_bytes: float = 0.0
    largest: float = 0.0
    hierarchical: bool = True

    def num_buckets(self, size: int) -> int:
        """For `size` ranks. With many ranks buckets are larger, so that parts are not tiny and no
        part of whole tensors exceeds twice the mean."""
        least = max(self.bucket_bytes, size * self.part_bytes, size * self.largest / 2)
        return max(1, round(self.num_bytes / least))

    def step_seconds(
        self, compute: float, update: float, size: int, network: Network, ranks_per_host: int = 1
    ) -> float:
        """From the end of one update to the end of the next."""
        number = self.num_buckets(size)
        bucket = self.num_bytes / number
        travel = self._travel_seconds(bucket, size, network, ranks_per_host)
        wire = done = 0.0
        for _ in range(number):
            wire += travel
            done = max(done, wire) + FORWARD_SHARE * compute / number
        for _ in range(number):
            done += (1 - FORWARD_SHARE) * compute / number
            wire = max(wire, done) + travel
        norm = network.allreduce_seconds(0, size)
        return max(done, wire) + norm + update / size

    def _travel_seconds(
        self, bucket: float, size: int, network: Network, ranks_per_host: int
    ) -> float:
        """Of a bucket's gradients to their owners, or of its parameters to all ranks.

        Hosts that add up what their ranks have exchange a bucket as single ranks would. What it
        takes within a host is a message more, and no bytes of the link. On one host nothing crosses
        a link.
        """
        largest = min(self.largest, bucket)
        if ranks_per_host == 1:
            return network.allgather_seconds(bucket, size, largest)
        hosts = self._summing_hosts(size, ranks_per_host)
        if hosts is None:
            return ranks_per_host * network.allgather_seconds(bucket, size, largest)
        between = network.allgather_seconds(bucket, max(hosts, 1), largest)
        return between + (network.latency_seconds if size > 1 else 0.0)

    def link_bytes(self, size: int, ranks_per_host: int = 1) -> float:
        """Bytes that a host sends in a step: the gradients that others own, and the parameters
        that it owns to all others.

        Hosts that add nothing up send each rank's gradients straight to their owners.
        """
        hosts = self._summing_hosts(size, ranks_per_host)
        if hosts is None:
            gradients = ranks_per_host * (size - ranks_per_host) / size
            return (gradients + (size - 1) / size) * self.num_bytes
        return 2 * (1 - 1 / max(hosts, 1)) * self.num_bytes

    def _summing_hosts(self, size: int, ranks_per_host: int) -> int | None:
        """Number of hosts that add up gradients before they send them, 0 where `size` ranks do not
        fill one; None where none does, for it is off or hosts have different numbers of ranks."""
        hosts, left = divmod(size, ranks_per_host)
        is_one = size <= ranks_per_host
        return hosts if is_one or (self.hierarchical and not left) else None


@dataclass(frozen=True)
class Workload:
    """A step of one rank.

    Attributes:
        samples: of one rank.
        compute_seconds: until the last gradient is ready.
        update_seconds: of the whole update, after the last sum.
        gradients: in the order in which they are sent; by default nothing is.
        gathered: bytes of parameters, where each rank updates a part and all gather the parts;
            0 where each rank updates all.
        largest: of them, bytes of the largest tensor: no part is smaller for more ranks.
        shards: in place of `gradients` and `gathered`, where both are sent while ranks compute.
        unit: what samples are, such as "tokens".
    """

    samples: float
    compute_seconds: float
    update_seconds: float = 0.0
    gradients: Sequence[Gradient] = field(default=())
    gathered: float = 0.0
    largest: float = 0.0
    shards: Shards | None = None
    unit: str = "samples"

    def step_seconds(self, size: int, network: Network, ranks_per_host: int = 1) -> float:
        """A step of `size` ranks that all compute alike.

        Sums are made one after another, and beside the computing; what is ready before the end of
        the computing may be hidden by it.
        """
        if self.shards is not None:
            computed = self.compute_seconds, self.update_seconds
            return self.shards.step_seconds(*computed, size, network, ranks_per_host)
        done = 0.0
        for gradient in self.gradients:
            begin = max(done, gradient.ready_seconds)
            done = begin + network.allreduce_seconds(gradient.num_bytes, size)
        summed = max(self.compute_seconds, done)
        if not self.gathered:
            return summed + self.update_seconds
        gather = network.allgather_seconds(self.gathered, size, self.largest)
        return summed + self.update_seconds / size + gather

    def link_bytes(self, size: int, ranks_per_host: int = 1) -> float:
        """Bytes that a host sends in a step, over a link that its ranks share; 0 on one host."""
        if size <= ranks_per_host:
            return 0.0
        if self.shards is not None:
            return self.shards.link_bytes(size, ranks_per_host)
        summed = sum(gradient.num_bytes for gradient in self.gradients)
        return (2 * summed + self.gathered) * (size - 1) / size


def workload_of_run(run: RunDir) -> Workload:
    """What the ranks of a run did: medians of its train points.

    Buckets are those of ranks on several hosts. A run that names none computes all gradients and
    then sums them in one collective, so none is hidden.

    Raises:
        UserError: no such run, or one without a report, without train points, or of a program
            that does not tell what its ranks send.
    """
    report = run.read_report()
    points = [row for row in run.read_metrics() if row.get("split") == "train"]
    points = points[len(points) // 10 :]  # the first ones hold what is done once
    if not points:
        raise UserError(f"{run.metrics}: no train points; train for more steps (--log-every)")
    sent = report.get("communication")
    if not isinstance(sent, dict):
        raise UserError(f"{run.report}: no 'communication'; train again with this version")
    units, unit = _units(points)
    compute = _median(points, "data_seconds") + _median(points, "compute_seconds")
    update = _median(points, "update_seconds")
    size, gathered = int(report["size"]), float(sent.get("allgather_bytes", 0))
    if "reduce_scatter_bytes" in sent:
        shards = Shards(
            num_bytes=float(sent["reduce_scatter_bytes"]),
            bucket_bytes=float(sent["bucket_bytes"]),
            part_bytes=float(sent["part_bytes"]),
            largest=float(sent["largest_tensor_bytes"]),
            # Earlier runs do not say it; all were on CPUs, where it is the default.
            hierarchical=bool(sent.get("hierarchical", True)),
        )
        return Workload(units / size, compute, update * size, shards=shards, unit=unit)
    return Workload(
        samples=units / size,
        compute_seconds=compute,
        update_seconds=update * size if gathered else update,
        gradients=_gradients(float(sent["allreduce_bytes"]), sent.get("bucket_bytes"), compute),
        gathered=gathered,
        largest=float(sent.get("largest_tensor_bytes", 0)),
        unit=unit,
    )


def _gradients(num_bytes: float, bucket: float | None, compute: float) -> list[Gradient]:
    """Buckets that become ready evenly over the backward pass; or all at its end."""
    number = max(1, round(num_bytes / bucket)) if bucket else 1
    forward = FORWARD_SHARE * compute if number > 1 else compute
    ready = [forward + (compute - forward) * (i + 1) / number for i in range(number)]
    return [Gradient(num_bytes / number, seconds) for seconds in ready]


def _median(points: Sequence[dict[str, Any]], name: str) -> float:
    return statistics.median(float(point.get(name, 0.0)) for point in points)


def _units(points: Sequence[dict[str, Any]]) -> tuple[float, str]:
    """Units of a step of all ranks, and what they are. Each point tells
    it exactly, speed times seconds; the medians of the kinds do not add up to one of the step."""
    name = next(name for name in points[0] if name.endswith("_per_second"))
    units = [p[name] * sum(float(p.get(f"{kind}_seconds", 0.0)) for kind in KINDS) for p in points]
    return statistics.median(units), name.removesuffix("_per_second")


@dataclass(frozen=True)
class Prediction:
    """At one number of ranks, each with as many samples a step as the workload's (weak scaling).

    Attributes:
        per_second: units of all ranks.
        efficiency: throughput against `size` times that of one rank, 0 to 1.
        link_bytes: that a host sends in a step.
        cost_per_million: of a million units, in the currency of the price; None without a price.
    """

    size: int
    step_seconds: float
    per_second: float
    efficiency: float
    cost_per_million: float | None
    link_bytes: float = 0.0


def predict(
    workload: Workload,
    network: Network,
    sizes: Sequence[int],
    *,
    price_per_host_hour: float | None = None,
    ranks_per_host: int = 1,
) -> list[Prediction]:
    """What `sizes` ranks would do.

    Args:
        price_per_host_hour: in any currency; hosts that are partly used count whole.
        ranks_per_host: they share a link.
    """
    alone = workload.samples / workload.step_seconds(1, network)
    found = []
    for size in sizes:
        seconds = workload.step_seconds(size, network, ranks_per_host)
        speed = size * workload.samples / seconds
        cost = None
        if price_per_host_hour is not None:
            hosts = -(-size // ranks_per_host)
            cost = 1e6 * hosts * price_per_host_hour / 3600.0 / speed
        sent = workload.link_bytes(size, ranks_per_host)
        found.append(Prediction(size, seconds, speed, speed / (size * alone), cost, sent))
    return found
