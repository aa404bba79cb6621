"""The pieces of a step: what is summed, what weighs nothing, and the running average, by hand."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest

from hvdcore.classifier.keras.state import Steps, Training, build_training
from hvdcore.classifier.keras.task import Batch, smoothed
from hvdcore.keras import init
from hvdcore.testing.classifier_task import LABELS, POINTS, TinyTask, network

TARGETS = smoothed(LABELS, 3, 0.0)


@pytest.fixture(autouse=True)
def one_rank() -> None:
    init()


def steps(*, ema_decay: float = 0.0, xla: bool = False) -> Steps:
    model, twin = network(), network()
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(model.trainable_variables)
    averaged = twin if ema_decay else model
    return Steps(model, averaged, optimizer, ema_decay=ema_decay, xla=xla)


def batch(rows: slice, fill: int = 6) -> Batch:
    return Batch.of((POINTS[rows],), TARGETS[rows], fill)


def gradients(of: Steps, rows: slice, fill: int = 6) -> list[Any]:
    return [g.numpy() for g in of.gradients(batch(rows, fill), 6, stop=False)]


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    """What makes N ranks equal to one, rows that only fill up included."""
    pieces = steps()
    whole = gradients(pieces, slice(0, 6))
    parts = [gradients(pieces, rows, 4) for rows in (slice(0, 4), slice(4, 6))]
    for full, first, second in zip(whole, *parts, strict=True):
        assert first + second == pytest.approx(full, abs=1e-5 * max(1.0, float(np.abs(full).max())))


def test_sums_by_hand() -> None:
    pieces = steps()
    for variable in pieces.model.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    pieces.model.trainable_variables[1].assign([1.0, 0.0, 0.0])  # always the first class
    _, sums = pieces.reduce(pieces.gradients(batch(slice(0, 4)), 4, stop=True))
    total = math.e + 2  # of the exponentials of the logits
    assert sums.loss == pytest.approx(4 * math.log(total) - 2, rel=1e-5)
    assert sums.correct == 2
    assert sums.stop


def test_bytes_that_a_step_sends() -> None:
    """Of one layer from two numbers to three classes, with its biases."""
    assert steps().communication == {"allreduce_bytes": 4 * (2 * 3 + 3)}


def test_nobody_wishes_to_stop() -> None:
    pieces = steps()
    assert not pieces.reduce(pieces.gradients(batch(slice(0, 4)), 4, stop=False))[1].stop


def test_xla_computes_the_same() -> None:
    plain, compiled = (gradients(steps(xla=xla), slice(0, 6)) for xla in (False, True))
    for ours, theirs in zip(plain, compiled, strict=True):
        assert theirs == pytest.approx(ours, abs=1e-4)


def test_the_running_average_by_hand() -> None:
    pieces = steps(ema_decay=0.9)
    start = pieces.model.trainable_variables[1].numpy()
    ones = [np.ones(v.shape, dtype=np.float32) for v in pieces.model.trainable_variables]
    pieces.update(ones, learning_rate=2.0, step=0)  # decay (1 + 0) / (10 + 0)
    assert pieces.model.trainable_variables[1].numpy() == pytest.approx(start - 2)
    mean = pieces.averaged.trainable_variables[1]
    assert mean.numpy() == pytest.approx(0.1 * start + 0.9 * (start - 2))
    before = mean.numpy()
    pieces.update(ones, learning_rate=1.0, step=1000)
    assert mean.numpy() == pytest.approx(0.9 * before + 0.1 * (start - 3))


def training(**fields: object) -> Training:
    return build_training(TinyTask(**fields), init())


def test_a_run_in_figures_by_hand() -> None:
    run = training(epochs=90)
    assert (run.per_epoch, run.total_steps, run.eval_every) == (2, 180, 6)
    rates = []
    for run.step in (0, 8, 9, 180):
        rates.append(run.learning_rate())
    # 9 steps of warm-up, 5 % of the run, and then the cosine down to nothing.
    assert rates == pytest.approx([0.05, 0.45, 0.5, 0.0])


def test_patience_counts_evaluations_without_a_gain() -> None:
    run = training(patience=3)
    run.evaluations_without_gain = 2
    assert not run.out_of_patience()
    run.evaluations_without_gain = 3
    assert run.out_of_patience()
    assert not training().out_of_patience()


def test_half_precision_keeps_its_weights_whole() -> None:
    try:
        run = training(dtype="bfloat16", ema_decay=0.0)
        assert str(run.model.trainable_variables[0].dtype) == "float32"
        assert run.model(POINTS).dtype == "bfloat16"
        samples = run.task.read(0, np.arange(4))
        _, sums = run.steps.reduce(run.steps.gradients(samples, 4, False))
        assert math.isfinite(sums.loss)
    finally:
        keras.config.set_dtype_policy("float32")


def test_targets_and_filling_by_hand() -> None:
    found = Batch.of((POINTS[:1],), smoothed(LABELS[1:2], 3, 0.3), 2)
    assert found.targets == pytest.approx(np.array([[0.1, 0.8, 0.1], [0, 0, 0]]))
    assert found.weights.tolist() == [1.0, 0.0]
    assert found.inputs[0].tolist() == [POINTS[0].tolist(), [0.0, 0.0]]
