"""What the benchmark's peers train is our network: the same weights give the same logits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("news_cls")
BENCH = Path(__file__).parents[2] / "infra" / "bench"

COMPARE = """
import numpy as np
from news_work import NewsWork
work = NewsWork()
ours, peers = work.new_model(), work.peer_model()
assert not [layer for layer in peers.layers if layer.name == "recurrent"]
peers.set_weights([weight + 0.01 for weight in ours.get_weights()])
ours.set_weights(peers.get_weights())
(inputs, _), other = work.batch(np.arange(8)), work.batch(np.arange(8, 16))[0]
logits = ours(list(inputs)).numpy()
assert np.abs(logits - ours(list(other)).numpy()).max() > 1e-3, "control: other texts, other logits"
np.testing.assert_allclose(peers(list(inputs)).numpy(), logits, atol=1e-5)
"""


def test_the_peers_of_news_cls_train_its_network() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPARE], cwd=BENCH, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
