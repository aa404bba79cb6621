"""The models: what they compute, and that no sample depends on the others in its batch."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from hvdcore.classifier.keras import Batch, load_model, save_model
from hvdcore.classifier.keras.state import Steps
from hvdcore.classifier.model_folder import load_classes
from hvdcore.errors import UserError
from hvdcore.keras import init
from image_cls.config import TrainConfig
from image_cls.model import LEARNING_RATES, build_model, portable

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)


def model(name: str, seed: int = 0) -> keras.Model:
    return build_model(TrainConfig(model=name), 32, 6, seed)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("logreg", 32 * 32 * 3 * 6 + 6),
        ("mlp", (32 * 32 * 3 + 1) * 256 + 257 * 6),
        ("cnn", 1_227_046),
    ],
)
def test_sizes(name: str, parameters: int) -> None:
    assert model(name).count_params() == parameters
    assert model(name)(IMAGES).shape == (4, 6)
    assert name in LEARNING_RATES


@pytest.mark.parametrize("name", ["logreg", "mlp", "cnn"])
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    network = model(name)
    together = network(IMAGES, training=True).numpy()
    alone = np.concatenate([network(IMAGES[i : i + 1], training=True).numpy() for i in range(4)])
    assert alone == pytest.approx(together, abs=1e-4)


@pytest.mark.parametrize("name", ["logreg", "cnn"])
def test_gradients_of_a_batch_are_the_sum_of_its_shards(name: str) -> None:
    """What makes N ranks equal to one, padding rows included."""
    init()
    network = model(name)
    steps = Steps(network, network, keras.optimizers.SGD(1.0), ema_decay=0.0, xla=False)
    targets = np.eye(6, dtype=np.float32)[:4]

    def gradients(rows: slice, fill: int) -> list[np.ndarray]:
        batch = Batch.padded((IMAGES[rows],), targets[rows], fill)
        return [g.numpy() for g in steps.gradients(batch, 4, stop=False)]

    whole, first, second = (
        gradients(slice(*rows), fill) for *rows, fill in ((0, 4, 4), (0, 3, 3), (3, 4, 3))
    )
    for full, one, other in zip(whole, first, second, strict=True):
        assert one + other == pytest.approx(full, abs=1e-5 * max(1.0, float(np.abs(full).max())))


def test_the_seed_decides_the_weights() -> None:
    first, again, other = model("cnn", 1), model("cnn", 1), model("cnn", 2)
    weights = [m.trainable_variables[0].numpy() for m in (first, again, other)]
    assert (weights[0] == weights[1]).all()
    assert (weights[0] != weights[2]).any()


def test_blocks_are_the_identity_at_first() -> None:
    """Doubling the input of a block's last convolution changes nothing while it is zero."""
    network = model("cnn")
    before = network(IMAGES).numpy()
    zero = [v for v in network.trainable_variables if not v.numpy().any() and len(v.shape) == 4]
    assert len(zero) == 4
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (3, 3):
            kernel = layer.kernel
            if kernel.shape[2] == kernel.shape[3] and kernel.numpy().any():
                kernel.assign(2 * kernel)  # the first convolution of the first block
    assert network(IMAGES).numpy() == pytest.approx(before, abs=1e-4)


def test_a_saved_model_loads_in_plain_keras(tmp_path: Path) -> None:
    network = model("cnn")
    save_model(tmp_path, portable(network), tuple("abcdef"), {"image_size": 32})
    plain = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert plain(IMAGES).numpy() == pytest.approx(network(IMAGES).numpy(), abs=1e-6)
    assert load_classes(tmp_path) == tuple("abcdef")


def test_a_damaged_model_is_one_line(tmp_path: Path) -> None:
    save_model(tmp_path, model("logreg"), tuple("abcdef"), {"image_size": 32})
    whole = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "model.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"model\.keras: not a complete zip archive"):
        load_model(tmp_path)


def test_a_missing_model_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--resume auto"):
        load_model(tmp_path)


@pytest.fixture(scope="module")
def body() -> keras.Model:
    """A MobileNetV2 whose weights are unlike those of a fresh one."""
    keras.utils.set_random_seed(11)
    return keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), include_top=False, pooling="avg", weights=None
    )


@pytest.mark.parametrize("form", ["whole.keras", "whole.h5", "only.weights.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_transfer_loads_the_weights_of_a_file(tmp_path: Path, body: keras.Model, form: str) -> None:
    path = tmp_path / form
    body.save_weights(path) if form.startswith("only") else body.save(path)
    network = build_model(TrainConfig(model="mobilenet", weights=str(path)), 32, 6, 0)
    assert len(network.trainable_variables) == 2  # the last layer
    kernel, bias = (v.numpy() for v in network.trainable_variables)
    features = body(IMAGES / 127.5 - 1.0, training=False).numpy()
    assert network(IMAGES, training=True).numpy() == pytest.approx(
        features @ kernel + bias, abs=1e-4
    )


def _gone(folder: Path) -> Path:
    return folder / "gone.h5"


def _other_format(folder: Path) -> Path:
    (folder / "weights.pt").write_bytes(b"PK")
    return folder / "weights.pt"


def _damaged(folder: Path) -> Path:
    (folder / "weights.h5").write_bytes(b"no HDF5 at all")
    return folder / "weights.h5"


def _other_network(folder: Path) -> Path:
    model("logreg").save(folder / "weights.keras")
    return folder / "weights.keras"


@pytest.mark.parametrize("make", [_gone, _other_format, _damaged, _other_network])
def test_wrong_weights_are_one_line(tmp_path: Path, make: object) -> None:
    assert callable(make)
    config = TrainConfig(model="mobilenet", weights=str(make(tmp_path)))
    with pytest.raises(UserError) as caught:
        build_model(config, 32, 6, 0)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("weights: ")
