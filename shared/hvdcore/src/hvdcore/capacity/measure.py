"""Measuring a network: allreduces of several sizes by real ranks (`hvdcore network`)."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from hvdcore.capacity.model import Network, Timing, fit_network
from hvdcore.errors import UserError
from hvdcore.files.json_files import read_json_object, write_json_atomically
from hvdcore.runtime.environment import python_module

__all__ = ["SIZES_BYTES", "measure_on_rank", "rank_command", "read_network"]

SIZES_BYTES = tuple(4096 * 8**power for power in range(5))
"""4 KB to 16 MB."""
REPEATS = 7


def rank_command(output: Path) -> list[str]:
    """What every rank runs; rank 0 writes `output`."""
    return [*python_module("hvdcore.capacity.measure"), str(output.resolve())]


def measure_on_rank(output: Path) -> None:
    """Time the sums and write timings and network. Every rank must call."""
    adapter = _adapter()
    world = adapter.init()
    if world.size == 1:
        raise UserError("--np: one rank sends nothing; give two or more")
    timings = [Timing(size, _seconds(adapter.allreduce_sum, size)) for size in SIZES_BYTES]
    if world.is_root:
        network = fit_network(timings, world.size)
        values = {
            "size": world.size,
            "timings": [[timing.num_bytes, timing.seconds] for timing in timings],
            "latency_seconds": network.latency_seconds,
            "bytes_per_second": network.bytes_per_second,
        }
        write_json_atomically(output, values)


def _adapter() -> Any:
    """The module of whichever framework is installed."""
    if find_spec("torch") is not None:
        import hvdcore.torch as adapter
    else:
        import hvdcore.keras as adapter  # type: ignore[no-redef]
    return adapter


def _seconds(allreduce_sum: Callable[[Any], Any], num_bytes: int) -> float:
    """Of the median sum, by the slowest rank."""
    values = np.zeros(num_bytes // 4, dtype=np.float32)
    allreduce_sum(values)  # the first one negotiates
    seconds = []
    for _ in range(REPEATS):
        allreduce_sum(np.zeros(1, dtype=np.float32))  # all begin together
        started = time.perf_counter()
        allreduce_sum(values)
        seconds.append(time.perf_counter() - started)
    return float(statistics.median(seconds))


def read_network(path: Path) -> Network:
    """The network that `hvdcore network` wrote.

    Raises:
        UserError: no such file, or another one.
    """
    values = read_json_object(path)
    try:
        return Network(float(values["latency_seconds"]), float(values["bytes_per_second"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"--network: {path} is not what hvdcore network writes ({error!r})"
        ) from None


if __name__ == "__main__":
    from hvdcore.errors import user_errors_exit

    with user_errors_exit():
        measure_on_rank(Path(sys.argv[1]))
