"""The proof that N ranks train the model that one rank trains, with controls that must fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.ranks

Start = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def one_rank(start: Start) -> dict[str, Any]:
    result: dict[str, Any] = start(1, "gloo", "equivalence.py", "ours")[0]["ours"]
    return result


@pytest.mark.parametrize(
    ("size", "controller"),
    [(2, "gloo"), (3, "mpi"), pytest.param(4, "mpi", marks=pytest.mark.proof)],
)
def test_ranks_match_a_single_rank(
    start: Start, one_rank: dict[str, Any], size: int, controller: str
) -> None:
    results = [rank["ours"] for rank in start(size, controller, "equivalence.py", "ours")]
    assert len({result["agreement"] for result in results}) == 1
    assert len(results[0]["agreement"]) == 64
    for result in results:
        assert result["losses"] == pytest.approx(one_rank["losses"], rel=2e-5)
        assert result["weights"] == pytest.approx(one_rank["weights"], abs=2e-5)


def test_horovods_own_optimizer_does_the_same_and_none_diverges(
    start: Start, one_rank: dict[str, Any]
) -> None:
    """`horovod.tensorflow.keras.DistributedOptimizer` averages; the control has no wrapper."""
    results = start(2, "mpi", "equivalence.py", "ours", "horovod", "plain")
    for rank in results:
        for how in ("ours", "horovod"):
            assert len(rank[how]["agreement"]) == 64
            assert rank[how]["weights"] == pytest.approx(one_rank["weights"], abs=2e-5)
        assert rank["plain"]["agreement"] == "weights: rank 1 differs from rank 0"
        assert rank["plain"]["weights"] != pytest.approx(one_rank["weights"], abs=2e-5)
