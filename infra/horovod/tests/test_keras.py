"""Keras on two real ranks, with both controllers: weights equal to one process's.

The same cases run under Keras 3 and, where tf_keras is installed, under Keras 2.
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

EXACT = 2e-6
"""Rounding: sums over ranks are made in another order than over a batch."""

SAME_TRAINING = [
    "fit",
    "horovod_keras",
    "horovod_tensorflow",
    "adam_with_clipping",
    "eager_steps",
    "groups",
    "predivided",
    "sum",
    "own_loop",
    "own_eager_loop",
    "tape",
    "tape_and_optimizer",
    "accumulation",
    "accumulated_sums",
    "accumulation_with_a_rest",
    "rows_of_an_embedding",
    "rows_as_a_full_tensor",
    "broadcast_callback",
    "saved_model",
    "saved_in_h5",
    "weight_decay_exclusions",
    "minimize",
]
KERAS_3 = [
    "accumulation_of_keras",
    "loss_scaling_outside",
    "loss_scaling_inside",
    "wrapped_after_training",
]


@pytest.fixture(scope="module", params=["keras3-mpi", "keras3-gloo", "keras2-gloo"])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """What the two ranks returned for each case."""
    keras, _, controller = request.param.partition("-")
    needed = ["tensorflow", "keras"] if keras == "keras3" else ["tensorflow", "tf_keras"]
    for module in needed:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if not can_start(controller):
        pytest.skip("no mpirun here")
    folder: Path = tmp_path_factory.mktemp("ranks")
    env = {"TF_USE_LEGACY_KERAS": "1" if keras == "keras2" else "0"}
    results = run_program("keras_cases.py", folder, controller, env=env)
    for rank in results:
        rank["legacy"] = keras == "keras2"
    return results


def check(ranks: Ranks, case: str, tolerance: float = EXACT) -> None:
    for rank in ranks:
        found = rank[case]
        assert found["between_ranks"] == 0.0
        assert found["to_one_process"] <= tolerance
        assert found["moved"] > 1e-3  # a model that stays where it is would be equal too


@pytest.mark.parametrize("case", SAME_TRAINING)
def test_ranks_train_as_one_process(ranks: Ranks, case: str) -> None:
    check(ranks, case)


@pytest.mark.parametrize("case", KERAS_3)
def test_ranks_train_as_one_process_in_keras_3(ranks: Ranks, case: str) -> None:
    if ranks[0]["legacy"]:
        pytest.skip("Keras 2 has it not, or otherwise")
    check(ranks, case)


def test_half_precision_gradients(ranks: Ranks) -> None:
    check(ranks, "half_precision_gradients", tolerance=5e-3)


def test_ranks_that_are_not_wrapped_diverge(ranks: Ranks) -> None:
    for rank in ranks:
        assert rank["fit_without_wrapping"]["between_ranks"] > 0.01
        assert rank["fit_without_wrapping"]["to_one_process"] > 0.01
        assert rank["broadcast_callback_without_it"] > 0.1


def test_accumulation_counts_each_pass(ranks: Ranks) -> None:
    for rank in ranks:
        assert rank["accumulation"]["iterations"] == 6
        assert rank["accumulation"]["left"] == 0
        assert rank["accumulation_with_a_rest"]["left"] == 1


def test_a_process_set_of_one_rank_trains_alone(ranks: Ranks) -> None:
    for rank in ranks:
        assert rank["process_set"]["to_one_process"] <= EXACT
        assert rank["process_set"]["between_ranks"] > 0.01


def test_a_local_layer_keeps_its_own_gradient(ranks: Ranks) -> None:
    # Both layers' gradient is the input, rank + 1: averaged in the first, halved in the second.
    assert [rank["local_layer"] for rank in ranks] == [[1.5, 0.5], [1.5, 1.0]]


def test_mixed_precision(ranks: Ranks) -> None:
    for rank in ranks:
        assert rank["mixed_precision"]["between_ranks"] == 0.0
        assert rank["mixed_precision"]["moved"] > 1e-3


def test_a_saved_model_is_plain_and_goes_on(ranks: Ranks) -> None:
    for rank in ranks:
        assert rank["saved_model"]["same_state"] == 0.0
        assert rank["saved_model"]["plain_class"] is True
        assert rank["saved_model"]["iterations"] == 12


def test_a_loss_by_name_is_found_in_an_h5_file(ranks: Ranks) -> None:
    for rank in ranks:
        case = rank["saved_with_a_loss_by_name"]
        assert case["found"] == pytest.approx(case["expected"], rel=1e-5)


def test_training_goes_on_from_files_of_keras_2(ranks: Ranks) -> None:
    if not ranks[0]["files_of_keras_2"]:
        pytest.skip("tf_keras is not installed")
    for rank in ranks:
        for name, (start, between, to_keras2, moved) in rank["files_of_keras_2"].items():
            assert start == between == 0.0, name
            assert to_keras2 < EXACT < moved, name


def test_a_saved_optimizer_of_ones_own(ranks: Ranks) -> None:
    if ranks[0]["legacy"]:
        pytest.skip("asked of Keras 3 alone")
    for rank in ranks:
        assert rank["saved_custom_optimizer"]["between_ranks"] == 0.0
        assert rank["saved_custom_optimizer"]["moved"] > 1e-3


def test_configuration(ranks: Ranks) -> None:
    assert all(rank["configuration"] == [True] * 4 for rank in ranks)


def test_what_cannot_work_says_so(ranks: Ranks) -> None:
    for rank in ranks:
        assert "without calling the optimizer's apply" in rank["update_behind_the_hooks"]
        assert rank["compiled_by_xla"] != ""
        assert "give a Keras optimizer" in rank["not_an_optimizer"]
        if not rank["legacy"]:
            assert "jit_compile=False" in rank["compiled_by_xla"]


def test_local_variables_are_not_broadcast(ranks: Ranks) -> None:
    assert [rank["broadcast_of_all_but_one"] for rank in ranks] == [[1.0, 0.0], [1.0, 1.0]]


def test_warmup(ranks: Ranks) -> None:
    expected = [0.4 * (1 + (batch + 1) / 8) for batch in range(8)] + [0.8] * 4
    for rank in ranks:
        assert rank["warmup"] == pytest.approx(expected)


def test_schedules(ranks: Ranks) -> None:
    for rank in ranks:
        staircase, smooth, logged = rank["schedule"]
        assert staircase == pytest.approx([0.1] * 4 + [0.8] * 4 + [0.4] * 4)
        assert smooth == pytest.approx([0.8, 1.0, 1.2, 1.4] + [1.4] * 4)
        assert logged == pytest.approx([0.1, 0.8, 0.4])


def test_momentum_correction(ranks: Ranks) -> None:
    # -1, then -(2 + 0.5 * 1 * 2) or, without the correction, -(2 + 0.5 * 1).
    for rank in ranks:
        assert rank["momentum_correction"] == pytest.approx([-4.0, -3.5])


def test_metric_average(ranks: Ranks) -> None:
    for rank in ranks:
        own, loss_apart = rank["metric_average"]
        assert own == 2.0
        assert abs(loss_apart) < 1e-5


def test_best_model(ranks: Ranks) -> None:
    assert all(rank["best_model"] == [True, True] for rank in ranks)


def test_elastic_state(ranks: Ranks) -> None:
    for rank in ranks:
        synced, restored, saved = rank["elastic_state"]
        assert synced == restored == pytest.approx([1.0, 0.1, 20, 0])
        assert saved == pytest.approx([7.0, 0.1, 5, 6])


def test_a_rank_that_comes_late_gets_rate_and_momentum(ranks: Ranks) -> None:
    first, second = (rank["elastic_state_of_a_legacy_optimizer"] for rank in ranks)
    assert first["before"] != second["before"]
    assert first["after"] == second["after"] == first["before"]
    assert abs(first["after"][1]) > 1e-3


def test_the_broadcast_callback_sends_the_learning_rate(ranks: Ranks) -> None:
    found = [rank["broadcast_callback_and_learning_rate"] for rank in ranks]
    assert [before for before, _, _ in found] == pytest.approx([0.1, 0.2])
    assert [after for _, after, _ in found] == pytest.approx([0.1, 0.1])
    assert [apart for _, _, apart in found] == [0.0, 0.0]


def test_elastic_callbacks(ranks: Ranks) -> None:
    assert all(rank["elastic_callbacks"] == [4, 0, 6] for rank in ranks)


def test_values(ranks: Ranks) -> None:
    for i, rank in enumerate(ranks):
        assert rank["values"] == [[1.5], [0, 1], [1], [[2.0], [4.0]][i]]
