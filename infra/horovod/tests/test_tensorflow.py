"""horovod.tensorflow on two real ranks: both controllers, and the operations in Python."""

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


@pytest.fixture(scope="module", params=["mpi", "gloo", "gloo-python"])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """What the two ranks returned for each case."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed")
    controller, _, operations = request.param.partition("-")
    if not can_start(controller):
        pytest.skip("no mpirun here")
    folder: Path = tmp_path_factory.mktemp("ranks")
    env = {"HOROVOD_TENSORFLOW_OPERATIONS": operations or "compiled"}
    results = run_program("tensorflow_cases.py", folder, controller, env=env)
    for rank in results:
        rank["operations"] = operations or "compiled"
        rank["controller"] = controller
    return results


def both(ranks: Ranks, case: str) -> Any:
    """What both ranks agree on."""
    assert ranks[0][case] == ranks[1][case]
    return ranks[0][case]


def test_tensorflow_can_be_configured_after_init(ranks: Ranks) -> None:
    """GPUs are chosen by the local rank, so after `init`; with the control that it ends."""
    assert both(ranks, "configured_after_init") == [True, True]


def test_allreduce_of_every_type(ranks: Ranks) -> None:
    found = both(ranks, "allreduce_of_every_type")
    assert len(found) == 8
    assert all(values == [3.0, 6.0] for values in found.values())


def test_a_sum_of_flags_is_any(ranks: Ranks) -> None:
    assert both(ranks, "allreduce_of_flags") == [True, False]


def test_reductions(ranks: Ranks) -> None:
    assert both(ranks, "reductions") == {
        "average": [1.5, 3.0, 6.0],
        "min": [1.0, 2.0, 4.0],
        "max": [2.0, 4.0, 8.0],
        "product": [2.0, 8.0, 32.0],
        "scaled": [6.0, 12.0, 24.0],
    }


def test_shapes(ranks: Ranks) -> None:
    assert both(ranks, "shapes") == [[], [0, 3], [3, 2]]


@pytest.mark.parametrize("case", ["movements", "movements_in_a_graph"])
def test_movements(ranks: Ranks, case: str) -> None:
    first, second = ranks[0][case], ranks[1][case]
    for found in (first, second):
        assert found["allgather"] == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
        assert found["broadcast"] == [1]
        assert found["grouped_allreduce"] == [[2.0, 2.0], [2.0]]
        assert found["grouped_allgather"] == [[0, 1], [5]]
    assert first["alltoall"] == [0, 10]
    assert second["alltoall"] == [1, 2, 11, 12]
    assert (first["received"], second["received"]) == ([1, 1], [2, 2])
    assert (first["equal_parts"], second["equal_parts"]) == ([0, 1, 10, 11], [2, 3, 12, 13])
    assert (first["reducescatter"], second["reducescatter"]) == ([0.0, 3.0], [6.0])
    assert first["grouped_reducescatter"] == [[0.0], [0.0, 2.0]]
    assert second["grouped_reducescatter"] == [[2.0], [4.0, 6.0]]


def test_numbers_of_a_graph(ranks: Ranks) -> None:
    assert [rank["numbers_of_a_graph"] for rank in ranks] == [[0, 2, 0], [1, 2, 1]]


def test_operations_in_opposite_order_do_not_wait_for_each_other(ranks: Ranks) -> None:
    assert both(ranks, "opposite_order") == [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]


def test_equal_operations_are_not_merged(ranks: Ranks) -> None:
    found = [value for rank in ranks for value in rank["equal_operations_stay_two"]]
    assert [v[0] if isinstance(v, list) else v for v in found] == [2.0] * 4


def test_a_constant_input_is_communicated_each_time(ranks: Ranks) -> None:
    assert both(ranks, "constants_are_not_computed_once") == [2.0, 4.0, 6.0]


def test_loop(ranks: Ranks) -> None:
    assert both(ranks, "loop") == 3.0 * (10 + 200 + 3000 + 40000)


def test_gradients(ranks: Ranks) -> None:
    first, second = (rank["gradients"] for rank in ranks)
    for found in (first, second):
        assert found["allreduce"] == [2.0, 20.0]
        assert found["grouped_allreduce"] == [4.0, 4.0]
    assert (first["allgather"], second["allgather"]) == ([1.0, 2.0], [3.0, 4.0])
    assert (first["grouped_allgather"], second["grouped_allgather"]) == ([1.0, 2.0], [3.0, 4.0])
    # The root's gradient is the mean of (rank + 1).
    assert (first["broadcast"], second["broadcast"]) == ([1.5, 1.5], [0.0, 0.0])
    # Element i went to rank i, as its element of this rank's number.
    assert (first["alltoall"], second["alltoall"]) == ([1.0, 2.0], [10.0, 11.0])
    # Element i went to rank i, whose loss weighs it with i + 1; times the size, as upstream has it.
    assert first["reducescatter"] == second["reducescatter"] == [2.0, 4.0]


def test_gradients_in_a_graph(ranks: Ranks) -> None:
    assert both(ranks, "a_second_graph_of_gradients") == [6.0, 6.0]


def test_ranks_that_disagree_fail_with_both_shapes(ranks: Ranks) -> None:
    message, after = both(ranks, "ranks_that_disagree")
    assert "[2]" in message
    assert "[3]" in message
    assert after == "2.0"


def test_a_scalar_cannot_be_gathered(ranks: Ranks) -> None:
    assert all(rank["an_operation_on_a_scalar"] != "" for rank in ranks)


def test_process_set(ranks: Ranks) -> None:
    assert [rank["process_set"] for rank in ranks] == [[2.0], [7.0, 2.0]]


def test_join(ranks: Ranks) -> None:
    assert ranks[0]["join"] == [2.0, 2.0, 2.0, 1.0, 0, 2.0]
    assert ranks[1]["join"] == [2.0, 2.0, 2.0, 0, 2.0]


def test_barrier(ranks: Ranks) -> None:
    assert both(ranks, "barrier") is True


def test_broadcast_variables(ranks: Ranks) -> None:
    assert both(ranks, "broadcast_variables") == [[1.0, 1.0], 1]
    assert both(ranks, "broadcast_in_place") == [[[1.0, 1.0], 1]] * 2


def test_objects(ranks: Ranks) -> None:
    first, everyone, empty = both(ranks, "objects")
    assert first == {"rank": 1, "many": "x"}
    assert everyone == [{"rank": 0, "many": ""}, first]
    assert empty == []


def test_sparse_and_dense_together(ranks: Ranks) -> None:
    expected = [[1.0, 1.0], [2.0, 2.0], [0.0, 0.0], [0.0, 0.0]]
    assert both(ranks, "sparse_and_dense_together") == [[2.0], expected, [2.0, 2.0, 2.0]]


def test_tape(ranks: Ranks) -> None:
    for rank, found in enumerate(r["tape"] for r in ranks):
        assert found["average"] == [3.0, 3.0]
        assert found["sum"] == [6.0, 6.0]
        assert found["groups"] == found["groups_of_variables"] == found["half"] == [3.0, 3.0]
        # A local source's own gradient, 2 (rank + 1), divided by the number of ranks.
        assert found["partial"] == [3.0, rank + 1.0]
        assert found["one_source"] == 4.5


def test_batch_normalization_over_unequal_ranks(ranks: Ranks) -> None:
    for rank in ranks:
        output, moving_mean, control = rank["batch_normalization"]
        assert output < 1e-5
        assert moving_mean < 1e-6
        assert control > 0.01  # what each rank alone would get is something else


def test_session(ranks: Ranks) -> None:
    if ranks[0]["operations"] == "python":
        pytest.skip("the operations in Python need eager mode")
    # Both start from rank 1's value; the gradients 1 and 2 make 1.5, times the rate 0.5.
    assert both(ranks, "session") == [1.0, 0.25]


def test_monitored_session(ranks: Ranks) -> None:
    if ranks[0]["operations"] == "python":
        pytest.skip("the operations in Python need eager mode")
    # Both start from rank 0's value, and stop after three steps of 0.75 each.
    assert both(ranks, "monitored_session") == [2.0, 1.25, 0.5]


def test_adasum_works_over_mpi_and_says_so(ranks: Ranks) -> None:
    # ab = 2, aa = 1, bb = 8: (1 - 2/2) of [1, 0] and (1 - 2/16) of [2, 2].
    found = both(ranks, "adasum")
    if ranks[0]["controller"] == "mpi":
        assert found == pytest.approx([1.75, 1.75])
    else:
        assert "Adasum needs MPI" in found
