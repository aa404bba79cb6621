"""`hvdcore network` and `hvdcore plan`: from options to tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hvdcore.capacity.measure import read_network
from hvdcore.capacity.model import Network, Prediction, Workload, predict, workload_of_run
from hvdcore.errors import Problems, UserError
from hvdcore.run.report import Table, print_table
from hvdcore.run.run_dir import RunDir

__all__ = ["make_network", "network_line", "plan_run", "read_sizes"]

BITS_PER_BYTE = 8


def read_sizes(text: str) -> list[int]:
    """Numbers of ranks out of `8,64,512`.

    Raises:
        UserError: one is no number of ranks.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and int(word) >= 1 for word in words):
        raise UserError(f"--np: got {text!r}; give numbers of ranks such as 8,64,512")
    return [int(word) for word in words]


def make_network(
    path: Path | None, latency_us: float | None, bandwidth_gbit: float | None
) -> Network:
    """The network of the options: measured, or as given.

    Raises:
        UserError: neither, or both; or a network that cannot be.
    """
    if path is not None:
        if latency_us is not None or bandwidth_gbit is not None:
            raise UserError("--network: give the file, or --latency-us and --bandwidth-gbit")
        return read_network(path)
    problems = Problems()
    for option, value in (("--latency-us", latency_us), ("--bandwidth-gbit", bandwidth_gbit)):
        if value is None:
            problems.add(option, "not given; measure the network with hvdcore network, or give it")
    problems.raise_if_any()
    assert latency_us is not None
    assert bandwidth_gbit is not None
    return Network(latency_us * 1e-6, bandwidth_gbit * 1e9 / BITS_PER_BYTE)


def network_line(network: Network) -> str:
    """The network in a person's units."""
    bandwidth = network.bytes_per_second * BITS_PER_BYTE / 1e9
    return f"latency {network.latency_seconds * 1e6:.3g} us, bandwidth {bandwidth:.3g} Gbit/s"


def plan_run(
    run: Path,
    sizes: Sequence[int],
    network: Network,
    *,
    price_per_host_hour: float | None,
    ranks_per_host: int,
    as_json: bool,
) -> None:
    """Print what `sizes` ranks would do with the run's work.

    Raises:
        UserError: no such run, or one that has not ended.
    """
    workload = workload_of_run(RunDir.open(run))
    found = predict(
        workload, network, sizes,
        price_per_host_hour=price_per_host_hour, ranks_per_host=ranks_per_host,
    )  # fmt: skip
    if as_json:
        print(json.dumps([asdict(prediction) for prediction in found], indent=2))
        return
    sent = sum(gradient.num_bytes for gradient in workload.gradients)
    shared = workload.gathered
    if workload.shards is not None:
        sent = shared = workload.shards.num_bytes
    gathered = f" and {shared / 1e6:.1f} MB of parameters" if shared else ""
    print(
        f"a rank: {workload.samples:,.0f} {workload.unit} a step, "
        f"{1e3 * (workload.compute_seconds + workload.update_seconds):.1f} ms of compute time, "
        f"{sent / 1e6:.1f} MB of gradients{gathered}; {network_line(network)}"
    )
    print_table(prediction_table(found, workload))


def prediction_table(found: Sequence[Prediction], workload: Workload) -> Table:
    """A row for each number of ranks."""
    header = ["ranks", "ms a step", f"{workload.unit} a second", "efficiency", "MB a host sends"]
    has_cost = any(prediction.cost_per_million is not None for prediction in found)
    rows = [
        [
            f"{p.size:,}",
            f"{1e3 * p.step_seconds:.1f}",
            f"{p.per_second:,.0f}" if p.per_second >= 100 else f"{p.per_second:.3g}",
            f"{p.efficiency:.1%}",
            f"{1e-6 * p.link_bytes:.1f}",
            *([f"{p.cost_per_million:.4g}"] if p.cost_per_million is not None else []),
        ]
        for p in found
    ]
    return Table([*header, *([f"cost of a million {workload.unit}"] if has_cost else [])], rows)
