"""The counters of a run, as a checkpoint keeps them."""

from __future__ import annotations

import json
import math

from hvdcore.sharding import Position
from textgen.training.state import Counters


def test_json_keeps_them() -> None:
    counters = Counters(Position(epoch=1, step=2, samples_seen=96), 14, 3.5, 2.25)
    written = json.dumps(counters.to_json())
    assert json.loads(written) == {
        "position": {"epoch": 1, "step": 2, "samples_seen": 96},
        "seconds": 3.5,
        "best_val_loss": 2.25,
    }
    assert Counters.from_json(14, json.loads(written)) == counters


def test_before_the_first_evaluation_there_is_no_best_loss() -> None:
    """JSON has no infinity: null stands for it."""
    values = json.loads(json.dumps(Counters().to_json(), allow_nan=False))
    assert values["best_val_loss"] is None
    assert Counters.from_json(0, values).best_val_loss == math.inf
