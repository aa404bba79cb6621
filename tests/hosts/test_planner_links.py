"""What the planner says of 2, 4 and 8 ranks is what they do, over links of a known speed.

The wire is to set the pace: one rank a host, small batches and large gradients, and so 8 ranks need
no 8 cores. The prediction takes what a user has: a run of one rank, and `hvdcore network` over two
hosts, which knows nothing of the speed that the links were given.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hvdcore.testing.hosts import TestNetwork
from hvdcore.testing.runs import RunOnHosts, ranks_environment

pytestmark = [pytest.mark.ranks, pytest.mark.proof]
SIZES = (2, 4, 8)
# Some 13 MB of gradients: two seconds on the wire between two ranks, some 0.05 s of computing.
CASES = {
    "image_cls": ("--image-size", "64", "--eval-every", "1000"),
    "textgen": (
        "--embed-dim", "256", "--num-heads", "4", "--num-layers", "4", "--mlp-dim", "1024",
        "--optimizer", "adamw",
    ),
}  # fmt: skip
GLOO = ("--controller", "gloo")


def hvdcore_says(network: TestNetwork, folder: Path, *arguments: str) -> str:
    """What `hvdcore` prints on the first host."""
    line = [*network.hosts["host1"].inside(folder), sys.executable, "-m", "hvdcore", *arguments]
    env = ranks_environment({"PATH": network.path})
    done = subprocess.run(
        line, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def first(number: int) -> str:
    return ",".join(f"host{i + 1}:1" for i in range(number))


@pytest.mark.parametrize("trainer", list(CASES))
def test_the_planner_is_right_within_15_percent(
    tmp_path: Path, network: TestNetwork, make_training: Callable[..., RunOnHosts], trainer: str
) -> None:
    def train(size: int) -> tuple[Path, dict[str, Any]]:
        batch = ("--global-batch-size", str(size), "--max-steps", "14")
        run = make_training(trainer, f"run-{size}", *CASES[trainer], *batch, "--log-every", "1")
        run.start(network.hosts["host1"], *GLOO, "--hosts", first(size))
        ended = run.finish().check()
        return ended.path, ended.report

    for number in range(max(SIZES)):
        network.add(f"host{number + 1}", "eth0").limit("50mbit")
    measured = tmp_path / "network.json"
    options = (*GLOO, "--hosts", first(2), "--output", str(measured))
    print("network:", hvdcore_says(network, tmp_path, "network", *options).strip())
    alone, _ = train(1)
    sizes = ("--np", ",".join(map(str, SIZES)), "--network", str(measured))
    print(hvdcore_says(network, tmp_path, "plan", str(alone), *sizes))
    plan = json.loads(hvdcore_says(network, tmp_path, "plan", str(alone), *sizes, "--json"))
    predicted = {row["size"]: row["per_second"] for row in plan}
    found = {}
    for size in SIZES:
        report = train(size)[1]
        found[size] = next(v for k, v in report.items() if k.endswith("s_per_second"))
        share = predicted[size] / found[size] - 1
        print(f"{size} ranks: predicted {predicted[size]:.2f}, measured {found[size]:.2f} a second"
              f" ({share:+.1%})")  # fmt: skip
    assert predicted == pytest.approx(found, rel=0.15)


def test_ranks_that_share_a_link(
    tmp_path: Path, network: TestNetwork, make_training: Callable[..., RunOnHosts]
) -> None:
    """Two hosts of two ranks each. Control: were each rank on a host of its own, links would carry
    3/4 of all elements each way in place of 1/2, and the prediction would be wrong."""

    def train(hosts: str, size: int, log_every: str) -> tuple[Path, float]:
        # What is logged is gathered between steps, when parameters are on their way.
        batch = ("--global-batch-size", str(size), "--max-steps", "12", "--eval-every", "1000")
        flags = (*CASES["textgen"], *batch, "--log-every", log_every)
        run = make_training("textgen", f"run-{size}", *flags)
        run.start(network.hosts["host1"], *GLOO, "--hosts", hosts)
        ended = run.finish().check()
        return ended.path, float(ended.report["tokens_per_second"])

    for number in (1, 2):
        network.add(f"host{number}", "eth0").limit("50mbit")
    measured = tmp_path / "network.json"
    hvdcore_says(
        network, tmp_path, "network", *GLOO, "--hosts", first(2), "--output", str(measured)
    )
    alone, _ = train("host1:1", 1, "1")
    _, found = train("host1:2,host2:2", 4, "1000")
    predicted = []
    for ranks in ("2", "1"):
        options = ("--np", "4", "--network", str(measured), "--ranks-per-host", ranks, "--json")
        (row,) = json.loads(hvdcore_says(network, tmp_path, "plan", str(alone), *options))
        predicted.append(row["per_second"])
        share = row["per_second"] / found - 1
        print(f"{ranks} ranks a host: predicted {row['per_second']:.2f}, measured {found:.2f} a"
              f" second ({share:+.1%}), {1e-6 * row['link_bytes']:.1f} MB a step")  # fmt: skip
    assert predicted[0] == pytest.approx(found, rel=0.15)
    assert predicted[1] != pytest.approx(found, rel=0.15)
