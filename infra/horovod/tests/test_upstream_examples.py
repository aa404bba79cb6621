"""The runner of upstream's examples, on a script of our own: what it says of equal weights.

Upstream's checkout is not part of the project; ``nox -s upstream`` runs the examples themselves.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the script trains with PyTorch")
pytest.importorskip("horovod.torch")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import upstream_example_data
import upstream_examples
from upstream_example_list import EXAMPLES, Example

WRAP = "optimizer = hvd.DistributedOptimizer(optimizer, model.named_parameters())\n"
SCRIPT = f"""
import sys
import horovod.torch as hvd
import torch
hvd.init()
torch.manual_seed(0)
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
{WRAP}
assert sys.argv[1:] == ["--steps", "1"]
model(torch.full((1, 2), 1.0 + hvd.rank())).sum().backward()
optimizer.step()
"""
EXAMPLE = Example("own/train.py", "torch", "--steps 1", smaller=(("lr=0.1", "lr=0.01"),))


def run(text: str, folder: Path) -> str:
    places = upstream_example_data.Places(folder, folder, folder, folder)
    start = upstream_examples.launcher("gloo", elastic=False)
    return upstream_examples.run(EXAMPLE, text, start, places, {})


@pytest.mark.ranks
def test_ranks_that_reduce_end_with_equal_weights(tmp_path: Path) -> None:
    assert run(SCRIPT, tmp_path) == "equal weights"


@pytest.mark.ranks
def test_control_ranks_that_do_not_reduce(tmp_path: Path) -> None:
    # A rank's gradient is its input, 1 or 2, and the learning rate 0.1: the difference is 0.1.
    assert run(SCRIPT.replace(WRAP, ""), tmp_path) == "ranks differ by 0.1"


@pytest.mark.ranks
def test_a_script_that_fails_is_told_by_its_error(tmp_path: Path) -> None:
    text = SCRIPT.replace("hvd.init()", "hvd.init()\nraise ValueError('no such data')")
    assert run(text, tmp_path) == "ValueError: no such data"


@pytest.mark.parametrize(
    ("of_rank_1", "changed", "expected"),
    [
        ([1.0, 2.0], True, "equal weights"),
        ([1.0, 2.5], True, "ranks differ by 0.5"),
        ([1.0, 2.0], False, "rank 0 trained nothing"),
        (None, True, "rank 1 left no weights"),
    ],
)
def test_weights_are_compared(
    tmp_path: Path, of_rank_1: list[float] | None, changed: bool, expected: str
) -> None:
    for rank, weights in enumerate(([1.0, 2.0], of_rank_1)):
        if weights is not None:
            np.savez(tmp_path / f"weights.{rank}.npz", np.array(weights), changed=changed)
    assert upstream_examples.compare(tmp_path) == expected


def test_an_edit_that_does_not_fit_is_an_error() -> None:
    assert "lr=0.01" in upstream_examples.edited(SCRIPT, EXAMPLE.smaller, EXAMPLE.file)
    with pytest.raises(ValueError, match=r"own/train\.py: no 'lr=0\.1' in it"):
        upstream_examples.edited("", EXAMPLE.smaller, EXAMPLE.file)


def test_an_example_counts_as_run_if_it_ran_in_one_way() -> None:
    def runs(*how: str) -> bool:
        return upstream_examples.Outcome(EXAMPLES[0], "Gloo", "PyTorch", *how).runs

    assert runs("equal weights")
    assert runs("TypeError: no such argument", "equal weights")
    assert not runs("ranks differ by 0.1", "ranks differ by 0.1")


def test_the_made_digits_are_in_the_format_of_mnist(tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="the images are JPEG files")
    places = upstream_example_data.make(tmp_path)
    raw = (places.mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").read_bytes()
    labels = np.load(tmp_path / ".keras" / "datasets" / "mnist-1.npz")["y_test"]
    assert raw == b"\0\0\x08\x01" + (32).to_bytes(4, "big") + labels.tobytes()
    assert len(list(places.images.glob("*/image.jpg"))) == 8
    assert len(list(places.thousand_classes.iterdir())) == 1000
