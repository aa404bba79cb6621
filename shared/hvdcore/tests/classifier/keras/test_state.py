"""The compiled step: sums over ranks, padding rows, the moving average and checkpoints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from hvdcore.classifier.keras.checkpoints import restore, write_checkpoint
from hvdcore.classifier.keras.state import Steps, TrainState, build_state
from hvdcore.classifier.keras.task import Batch, smooth_labels
from hvdcore.keras import init
from hvdcore.run.checkpoint import load, save
from hvdcore.run.run_dir import RunDir
from hvdcore.testing.classifier_task import LABELS, POINTS, TinyTask, network

TARGETS = smooth_labels(LABELS, 3, 0.0)


@pytest.fixture(autouse=True)
def one_rank() -> None:
    init()


def steps(*, ema_decay: float = 0.0, xla: bool = False, **options: Any) -> Steps:
    model, twin = network(), network()
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(model.trainable_variables)
    averaged = twin if ema_decay else model
    return Steps(model, averaged, optimizer, ema_decay=ema_decay, xla=xla, **options)


def batch(rows: slice, fill: int = 6) -> Batch:
    return Batch.padded((POINTS[rows],), TARGETS[rows], fill)


def gradients(of: Steps, rows: slice, fill: int = 6) -> list[Any]:
    return [g.numpy() for g in of.gradients(batch(rows, fill), 6, stop=False)]


def test_gradients_of_a_batch_are_the_sum_of_its_shards() -> None:
    """What makes N ranks equal to one, padding rows included."""
    compiled = steps()
    whole = gradients(compiled, slice(0, 6))
    shards = [gradients(compiled, rows, 4) for rows in (slice(0, 4), slice(4, 6))]
    for full, first, second in zip(whole, *shards, strict=True):
        assert first + second == pytest.approx(full, abs=1e-5 * max(1.0, float(np.abs(full).max())))


def test_sums_by_hand() -> None:
    compiled = steps()
    for variable in compiled.model.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    compiled.model.trainable_variables[1].assign([1.0, 0.0, 0.0])  # always the first class
    _, sums = compiled.reduce(compiled.gradients(batch(slice(0, 4)), 4, stop=True))
    total = math.e + 2  # of the exponentials of the logits
    assert sums.loss == pytest.approx(4 * math.log(total) - 2, rel=1e-5)
    assert sums.correct == 2
    assert sums.stop


def test_bytes_of_a_step() -> None:
    """Of one layer from two numbers to three classes, with its biases."""
    one_layer = {"allreduce_bytes": 4 * (2 * 3 + 3)}
    assert steps().communication == {**one_layer, "bucket_bytes": 2**20}
    assert steps(xla=True).communication == one_layer
    assert steps(wire_dtype="bfloat16").communication["allreduce_bytes"] == 2 * (2 * 3 + 3)


def test_no_rank_asks_to_stop() -> None:
    compiled = steps()
    assert not compiled.reduce(compiled.gradients(batch(slice(0, 4)), 4, stop=False))[1].stop


def test_sums_on_the_way_are_the_same_to_the_bit() -> None:
    plain, overlapped = (
        steps(overlap=overlap).summed_gradients(batch(slice(0, 6)), 6, True)
        for overlap in (False, True)
    )
    for ours, theirs in zip(overlapped.summed, plain.summed, strict=True):
        assert (ours.numpy() == theirs.numpy()).all()
    assert overlapped.sums == plain.sums
    assert overlapped.own_loss == plain.own_loss == plain.sums.loss
    assert overlapped.waited >= 0


def test_xla_computes_the_same() -> None:
    plain, by_xla = (gradients(steps(xla=xla), slice(0, 6)) for xla in (False, True))
    for ours, theirs in zip(plain, by_xla, strict=True):
        assert theirs == pytest.approx(ours, abs=1e-4)


def test_the_moving_average_by_hand() -> None:
    compiled = steps(ema_decay=0.9)
    start = compiled.model.trainable_variables[1].numpy()
    ones = [np.ones(v.shape, dtype=np.float32) for v in compiled.model.trainable_variables]
    compiled.update(ones, learning_rate=2.0, step=0)  # decay (1 + 0) / (10 + 0)
    assert compiled.model.trainable_variables[1].numpy() == pytest.approx(start - 2)
    mean = compiled.averaged.trainable_variables[1]
    assert mean.numpy() == pytest.approx(0.1 * start + 0.9 * (start - 2))
    before = mean.numpy()
    compiled.update(ones, learning_rate=1.0, step=1000)
    assert mean.numpy() == pytest.approx(0.9 * before + 0.1 * (start - 3))


def training(**fields: object) -> TrainState:
    return build_state(TinyTask(**fields), init())


def test_steps_and_learning_rates_by_hand() -> None:
    run = training(epochs=90)
    assert (run.per_epoch, run.total_steps, run.eval_every) == (2, 180, 6)
    rates = []
    for run.step in (0, 8, 9, 180):
        rates.append(run.learning_rate())
    # 9 steps of warm-up, 5 % of the run, and then the cosine down to nothing.
    assert rates == pytest.approx([0.05, 0.45, 0.5, 0.0])


def test_patience_counts_evaluations_since_the_best() -> None:
    run = training(patience=3)
    run.evals_since_best = 2
    assert not run.out_of_patience()
    run.evals_since_best = 3
    assert run.out_of_patience()
    assert not training().out_of_patience()


def test_bfloat16_keeps_its_weights_in_float32() -> None:
    try:
        run = training(dtype="bfloat16", ema_decay=0.0)
        assert str(run.model.trainable_variables[0].dtype) == "float32"
        assert run.model(POINTS).dtype == "bfloat16"
        samples = run.task.get_batch(0, np.arange(4))
        _, sums = run.steps.reduce(run.steps.gradients(samples, 4, False))
        assert math.isfinite(sums.loss)
    finally:
        keras.config.set_dtype_policy("float32")


def test_targets_and_padding_by_hand() -> None:
    found = Batch.padded((POINTS[:1],), smooth_labels(LABELS[1:2], 3, 0.3), 2)
    assert found.targets == pytest.approx(np.array([[0.1, 0.8, 0.1], [0, 0, 0]]))
    assert found.weights.tolist() == [1.0, 0.0]
    assert found.inputs[0].tolist() == [POINTS[0].tolist(), [0.0, 0.0]]


def test_a_checkpoint_restores_the_state(tmp_path: Path) -> None:
    written, restored = training(ema_decay=0.5), training(ema_decay=0.5)
    written.step, written.seconds, written.best_val_loss, written.evals_since_best = 3, 7.0, 0.5, 2
    for variable in [*written.model.weights, *written.averaged.weights]:
        variable.assign(variable + 1.0)
    write_checkpoint(written, RunDir(tmp_path))
    restore(restored, load(next(RunDir(tmp_path).checkpoints.glob("step-*"))))
    assert (restored.step, restored.seconds, restored.best_val_loss) == (3, 7.0, 0.5)
    assert restored.evals_since_best == 2
    for ours, theirs in ((restored.model, written.model), (restored.averaged, written.averaged)):
        for weight, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            assert (weight == expected).all()


def test_the_earlier_name_of_evals_since_best_is_read(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "new")
    write_checkpoint(training(), run)
    checkpoint = load(next(run.checkpoints.glob("step-*")))
    meta = {k: v for k, v in checkpoint.meta.items() if k not in ("step", "is_best", "versions")}
    del meta["evals_since_best"]

    def copy(folder: Path) -> None:
        for file in checkpoint.path.glob("*.safetensors"):
            (folder / file.name).write_bytes(file.read_bytes())

    save(tmp_path / "old", 1, copy, meta={**meta, "evaluations_without_gain": 4})
    state = training()
    restore(state, load(next((tmp_path / "old").glob("step-*"))))
    assert state.evals_since_best == 4
