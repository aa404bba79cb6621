"""Where hosts have several ranks, their links carry each gradient and each parameter once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import pytest

pytest.importorskip("torch")

from hvdcore.testing.hosts import TestNetwork
from hvdcore.testing.ranks import run_ranks

pytestmark = pytest.mark.ranks
PROGRAM = Path(__file__).parent / "programs" / "sent_bytes.py"
OVERHEAD = 1.15
"""Headers, acknowledgements, negotiation."""


def sent(
    network: TestNetwork, folder: Path, controller: Literal["mpi", "gloo"], *arguments: str
) -> list[dict[str, Any]]:
    """The results of ranks on two hosts of two ranks each."""
    for number in (1, 2):
        network.add(f"host{number}", "eth0")
    ended = run_ranks(
        [sys.executable, str(PROGRAM), *arguments],
        4,
        folder=folder,
        controller=controller,
        hosts="host1:2,host2:2",
        within=network.hosts["host1"].inside(folder),
        env={"PATH": network.path, "OMP_NUM_THREADS": "1"},
    ).check()
    return [ended.results[rank] for rank in range(4)]


@pytest.mark.parametrize(
    ("controller", "dtype", "itemsize"),
    [
        ("gloo", "float32", 4),
        pytest.param("mpi", "float32", 4, marks=pytest.mark.proof),
        pytest.param("gloo", "bfloat16", 2, marks=pytest.mark.proof),
        pytest.param("mpi", "bfloat16", 2, marks=pytest.mark.proof),
    ],
)
def test_two_hosts_of_two_ranks(
    tmp_path: Path,
    network: TestNetwork,
    controller: Literal["mpi", "gloo"],
    dtype: str,
    itemsize: int,
) -> None:
    """A host owns half of all elements. In two stages it sends the sums of the other half, and its
    own half of the parameters: N elements. Straight to the owners each of its two ranks sends its
    own gradients of the other half, N elements, before any parameter."""
    for result in sent(network, tmp_path, controller, dtype):
        straight, in_stages = result["straight"], result["in_stages"]
        once = itemsize * result["numel"]
        print(f"{controller} {dtype}: bytes a step over those of N elements:"
              f" straight {straight['bytes'] / once:.3f}, in two stages"
              f" {in_stages['bytes'] / once:.3f}")  # fmt: skip
        assert once < in_stages["bytes"] < OVERHEAD * once
        assert straight["bytes"] > 1.5 * once
