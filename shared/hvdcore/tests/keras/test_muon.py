"""Muon of kernels has known singular values, in blocks; all else is AdamW's to the bit."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from hvdcore.keras.adamw import RowwiseAdamW, Update
from hvdcore.keras.muon import BLOCK, MOMENTUM, ConvolutionMuon, orthogonalized

Array = npt.NDArray[np.float32]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def quintic(singular: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What five iterations make of singular values, each by itself."""
    for _ in range(5):
        singular = 3.4445 * singular - 4.7750 * singular**3 + 2.0315 * singular**5
    return singular


@pytest.mark.parametrize("shape", [(72, 16), (16, 72), (8, 8)])
def test_singular_values_are_those_of_the_polynomial(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    left, singular, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    expected = left @ np.diag(quintic(singular / np.linalg.norm(matrix))) @ right
    np.testing.assert_allclose(orthogonalized(tf.constant(matrix)), expected, atol=2e-3)
    assert np.abs(expected - matrix / np.linalg.norm(matrix)).max() > 0.05, "control: it changed"


def test_singular_values_end_near_one() -> None:
    spread = np.diag(np.array([1.0, 0.3, 0.05, 0.01], np.float32))
    found = np.diag(orthogonalized(tf.constant(spread)).numpy())
    assert found.min() > 0.65
    assert found.max() < 1.2
    assert np.abs(orthogonalized(tf.zeros([5, 3])).numpy()).max() == 0.0


def one_step(optimizer: Any, weights: Array, gradients: list[Array]) -> Array:
    variable = keras.Variable(weights, name="kernel")
    optimizer.build([variable])
    update = Update(optimizer, [variable])
    for gradient in gradients:
        update([tf.constant(gradient)])
    return np.asarray(variable.numpy())


def test_a_step_by_hand() -> None:
    """Nesterov's momentum of two gradients, orthogonalized, of the size of Adam's update."""
    weights, first, second = (random(3, 3, 4, 8, seed=seed) for seed in range(3))
    optimizer = ConvolutionMuon(0.01, weight_decay=0.1)
    found = one_step(optimizer, weights, [first, second])
    momentum, expected = np.zeros_like(first), weights
    for gradient in (first, second):
        momentum = MOMENTUM * momentum + gradient
        matrix = tf.constant((gradient + MOMENTUM * momentum).reshape(36, 8))
        step = 0.2 * 36**0.5 * orthogonalized(matrix).numpy().reshape(weights.shape)
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * step
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.sqrt(np.mean(step**2)) == pytest.approx(0.2, rel=0.2)


def test_outputs_are_orthogonalized_in_blocks() -> None:
    """A kernel of 1.5 blocks of outputs moves as two kernels, of a block and of half of one."""
    outputs = BLOCK * 3 // 2
    weights, gradient = random(1, 1, 128, outputs), random(1, 1, 128, outputs, seed=1)
    whole = one_step(ConvolutionMuon(0.01), weights, [gradient])
    parts = [
        one_step(ConvolutionMuon(0.01), weights[..., part], [gradient[..., part]])
        for part in (slice(0, BLOCK), slice(BLOCK, outputs))
    ]
    np.testing.assert_allclose(whole, np.concatenate(parts, axis=-1), atol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (4, 5)])
def test_other_weights_are_adamws(shape: tuple[int, ...]) -> None:
    weights, gradient = random(*shape), random(*shape, seed=1)
    ours = one_step(ConvolutionMuon(0.01, weight_decay=0.1), weights, [gradient] * 3)
    theirs = one_step(RowwiseAdamW(0.01, weight_decay=0.1), weights, [gradient] * 3)
    assert (ours == theirs).all()
    assert (ours != weights).all()


def test_control_a_kernel_is_not_adamws() -> None:
    weights, gradient = random(3, 3, 4, 8), random(3, 3, 4, 8, seed=1)
    ours = one_step(ConvolutionMuon(0.01), weights, [gradient])
    assert np.abs(ours - one_step(RowwiseAdamW(0.01), weights, [gradient])).max() > 1e-3


def test_the_size_of_the_gradient_does_not_matter() -> None:
    """So the sum over ranks may be a mean or not."""
    weights, gradient = random(3, 3, 4, 8), random(3, 3, 4, 8, seed=1)
    found = [one_step(ConvolutionMuon(0.01), weights, [gradient * size]) for size in (1.0, 64.0)]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_its_variables_are_its_whole_state() -> None:
    """A run that goes on from the weights and the optimizer's variables is the same run."""
    gradients = [random(3, 3, 4, 8, seed=seed) for seed in range(4)]
    expected = one_step(ConvolutionMuon(0.01), random(3, 3, 4, 8), gradients)
    first, second = ConvolutionMuon(0.01), ConvolutionMuon(0.01)
    weights = one_step(first, random(3, 3, 4, 8), gradients[:2])
    second.build([variable := keras.Variable(weights, name="kernel")])
    for here, there in zip(second.variables, first.variables, strict=True):
        here.assign(there)
    update = Update(second, [variable])
    for gradient in gradients[2:]:
        update([tf.constant(gradient)])
    assert (variable.numpy() == expected).all()
    assert not (weights == expected).all()
