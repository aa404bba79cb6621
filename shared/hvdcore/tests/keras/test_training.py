"""`fit` on two real ranks, over MPI and Gloo: agreement, XLA, callbacks, saved models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ranks

Ranks = list[dict[str, Any]]

LOAD_WITHOUT_US = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("horovod", "hvdcore"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
import keras
model = keras.models.load_model(sys.argv[1])
print(type(model.optimizer).__module__, type(model.optimizer).__name__, end="")
"""


def test_weights_agree_for_every_optimizer(ranks: Ranks) -> None:
    # Embedding (sparse) gradients, a weight without a gradient, schedules, clipping, moving
    # averages and accumulation; rank 0 has built layers that rank 1 has not.
    zero, one = (rank["agreement"] for rank in ranks)
    assert zero == one
    assert len(set(zero.values())) == len(zero) == 3


def test_history_holds_the_metrics_of_all_ranks(ranks: Ranks) -> None:
    for rank in ranks:
        history, (loss, mae) = rank["metrics"]["history"], rank["metrics"]["expected"]
        assert history["loss"] == pytest.approx(loss, rel=1e-5)
        assert history["val_loss"] == pytest.approx(loss, rel=1e-5)
        assert history["mae"] == pytest.approx(mae, rel=1e-5)
        assert history["val_mae"] == pytest.approx(mae, rel=1e-5)


def test_learning_rate_follows_the_step(ranks: Ranks) -> None:
    for rank in ranks:
        expected = [0.1, 0.2, 0.3, 0.4, 0.32, 0.24, 0.16, 0.08]
        assert rank["schedule"]["rates"] == pytest.approx(expected)
        assert rank["schedule"]["logged"] == pytest.approx([0.4, 0.08])


def test_ranks_stop_at_one_step_when_one_is_asked(ranks: Ranks) -> None:
    # Asked after step 6, agreed with the gradients of step 7; the whole run would have 12 steps.
    # Then one more epoch of 4.
    for rank in ranks:
        assert rank["stop"] == [[7, True, True, 11], [7, True, False, 11]]


def test_step_cut_for_xla_trains_like_the_plain_one(ranks: Ranks) -> None:
    for rank in ranks:
        plain, compiled = rank["xla"]["weights"]
        assert compiled == pytest.approx(plain, abs=1e-5)


def test_whole_step_under_xla_is_refused_with_the_fix(ranks: Ranks) -> None:
    for rank in ranks:
        assert "hvdcore.keras.distribute(model)" in rank["xla"]["message"]


def test_mixed_precision_distributes_the_loss_scaling(ranks: Ranks) -> None:
    assert ranks[0]["mixed_precision"] == ranks[1]["mixed_precision"]
    assert ranks[0]["mixed_precision"][0] == "LossScaleOptimizer"


def test_loaded_model_goes_on_as_if_never_saved(ranks: Ranks) -> None:
    for rank in ranks:
        again, never_saved = rank["save"]
        assert again == never_saved


def test_saved_model_loads_in_plain_keras(ranks: Ranks, scratch: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD_WITHOUT_US, str(scratch / "model.keras")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "keras.src.optimizers.adam Adam"
