"""Adasum for TensorFlow's optimizers on two real ranks, against values by hand.

Of two steps a and b it makes (1 - ab / 2aa) a + (1 - ab / 2bb) b: their sum where they are
orthogonal, their mean where they are the same.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from framework_ranks import can_start, run_program

Ranks = list[dict[str, Any]]

pytestmark = pytest.mark.ranks


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """What the two ranks returned for each case."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed")
    if not can_start("mpi"):
        pytest.skip("no mpirun here, and Adasum works over MPI")
    return run_program("adasum_cases.py", tmp_path_factory.mktemp("ranks"), "mpi")


def both(ranks: Ranks, case: str) -> Any:
    """What both ranks agree on."""
    assert ranks[0][case] == ranks[1][case]
    return ranks[0][case]


def test_the_same_steps_are_averaged(ranks: Ranks) -> None:
    assert both(ranks, "parallel") == [pytest.approx([-3.0, -4.0])]


def test_orthogonal_steps_are_added(ranks: Ranks) -> None:
    assert both(ranks, "orthogonal") == [pytest.approx([-1.0, -2.0])]


def test_steps_in_between(ranks: Ranks) -> None:
    # ab = 2, aa = 1, bb = 8: nothing of a, 7/8 of b. Then the same from there.
    first, second = both(ranks, "between")
    assert first == pytest.approx([-1.75, -1.75])
    assert second == pytest.approx([-3.5, -3.5])


def test_ranks_go_their_own_way_until_the_steps_are_combined(ranks: Ranks) -> None:
    assert [rank["every_other_step"][0] for rank in ranks] == [[-1.0, 0.0], [0.0, -2.0]]
    assert [rank["every_other_step"][1] for rank in ranks] == [pytest.approx([-2.0, -4.0])] * 2


def test_control_the_average_gives_other_weights(ranks: Ranks) -> None:
    assert both(ranks, "averaged") == [pytest.approx([-0.5, -1.0])]


def test_keras_optimizers_are_refused_with_a_way_out(ranks: Ranks) -> None:
    assert "tf.compat.v1.train" in both(ranks, "keras")
