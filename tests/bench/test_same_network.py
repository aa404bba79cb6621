"""What the benchmark's peers train is our network: the same weights give the same logits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "infra" / "bench"

COMPARE = """
import sys
import numpy as np
from keras_rank import find_work
work = find_work(sys.argv[1])
ours, peers = work.new_model(), work.peer_model()
fast = {"LSTM", "NormalizedReLU"}
kinds = [{type(layer).__name__ for layer in model.layers} for model in (ours, peers)]
assert kinds[0] & fast and not kinds[1] & fast, kinds
peers.set_weights([weight + 0.01 for weight in ours.get_weights()])
ours.set_weights(peers.get_weights())
(inputs, _), other = work.batch(np.arange(8)), work.batch(np.arange(8, 16))[0]
def logits(model, inputs):
    return model(list(inputs) if len(inputs) > 1 else inputs[0]).numpy()
found = logits(ours, inputs)
assert np.abs(found - logits(ours, other)).max() > 1e-3, "control: other samples, other logits"
np.testing.assert_allclose(logits(peers, inputs), found, atol=1e-5)
"""


@pytest.mark.parametrize(("package", "work"), [("news_cls", "news"), ("image_cls", "images")])
def test_the_peers_train_our_network(package: str, work: str) -> None:
    pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, work],
        cwd=BENCH, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
