"""Owns `distribute`: a compiled model whose optimizer talks to the other ranks, also under XLA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from hvdcore.errors import UserError
from hvdcore.keras.native import engine
from hvdcore.keras.optimizer import DistributedOptimizer, distribution_of, needed_distribution
from hvdcore.keras.reduction import ReduceOp

__all__ = ["distribute"]


def distribute(model: Any, *, op: ReduceOp = "average", sparse_as_dense: bool | None = None) -> Any:
    """Make a compiled model train on all ranks. Every rank must call, after `model.compile`.

    The optimizer that the model really uses is distributed: under mixed_float16 that is the
    LossScaleOptimizer which Keras put around the given one. Where the model is compiled by XLA
    (`jit_compile=True`, or "auto" on a GPU) the step is cut in three: forward and backward by XLA,
    the collective outside of it, the update by XLA. `fit` and `train_on_batch` use it as usual.
    Every rank must make the same number of steps.

    Args:
        model: a `keras.Model` after `compile` with an optimizer.
        op: "average" over ranks, or "sum".
        sparse_as_dense: reduce embedding gradients as full tensors; None: so on a GPU. Under XLA
            always so, for each number of rows would be compiled anew.

    Returns:
        `model` itself.

    Raises:
        UserError: the model is not compiled, or its optimizer was distributed otherwise.
    """
    if not getattr(model, "compiled", False) or model.optimizer is None:
        raise UserError("model: not compiled; call model.compile(optimizer=...) first")
    _free_inner_optimizer(model.optimizer)
    DistributedOptimizer(model.optimizer, op=op, sparse_as_dense=sparse_as_dense)
    if model.jit_compile and engine().size() > 1:
        _cut_compiled_step(model)
    return model


def _free_inner_optimizer(optimizer: Any) -> None:
    """Undo a distribution below a LossScaleOptimizer: its place is the outermost optimizer."""
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return
    inner = distribution_of(optimizer.inner_optimizer)
    if inner is not None:
        inner.remove(optimizer.inner_optimizer)


def _cut_compiled_step(model: Any) -> None:
    plain_step = model.train_step

    def forward_backward(data: Any) -> Any:
        with needed_distribution(model).capturing() as calls:
            logs = plain_step(data)
        if len(calls) != 1:
            raise UserError(
                f"train_step: it applies gradients {len(calls)} times a step; "
                "compile the model with jit_compile=False"
            )
        return logs, [tf.convert_to_tensor(g) if g is not None else None for g in calls[0]]

    def update(gradients: Any) -> None:
        needed_distribution(model).apply_reduced(gradients, model.trainable_variables)

    compiled_forward_backward, compiled_update = _by_xla(forward_backward), _by_xla(update)

    def train_step(data: Any) -> Any:
        logs, gradients = compiled_forward_backward(data)
        compiled_update(needed_distribution(model).reduction(gradients, dense=True))
        return logs

    model.train_step = train_step
    model.test_step = _by_xla(model.test_step)
    model.predict_step = _by_xla(model.predict_step)
    # Keras would compile the whole step, collective included.
    model.jit_compile = False
    model.train_function = model.test_function = model.predict_function = None


def _by_xla(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = tf.function(
        function, jit_compile=True, reduce_retracing=True, autograph=False
    )
    return compiled
