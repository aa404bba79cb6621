"""`DistributedOptimizer`: any Keras 3 optimizer, applying gradients reduced over ranks.

The hooks into `apply`, into accumulation and into loss scaling are those of
`horovod.tensorflow.keras.DistributedOptimizer`, which makes a new optimizer from a configuration.
Here the optimizer stays the same object with its state, the reduction carries the wish to stop, and
`distribute` makes the optimizer of a compiled model such a one, also under XLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import keras
import tensorflow as tf

from hvdcore.errors import UserError
from hvdcore.keras.collectives import engine
from hvdcore.keras.internals import inside_conditional, inside_xla
from hvdcore.keras.reduction import GradientReduction, ReduceOp

__all__ = [
    "DistributedOptimizer",
    "Distribution",
    "distribute",
    "distribution_of",
    "needed_distribution",
]

_ATTRIBUTE = "_hvdcore_distribution"


def DistributedOptimizer(
    optimizer: Any, *, op: ReduceOp = "average", sparse_as_dense: bool | None = None
) -> Any:
    """Make an optimizer apply gradients reduced over all ranks. Every rank must call, in order.

    The same object comes back, of a subclass of its class: schedules, slots and `learning_rate`
    stay, and a saved model holds the plain optimizer and loads without Horovod. After `load_model`
    call this again. Clipping, weight decay and averages of weights act on the reduced gradients.
    With `gradient_accumulation_steps` ranks communicate once an update, not once a batch; between
    updates each rank holds its own sums, so write checkpoints at updates.

    Under mixed_float16 it may stand inside of a `LossScaleOptimizer` or around it: gradients are
    reduced before ranks decide whether they are finite. The callbacks here ask the outermost one,
    which `distribute(model)` distributes after `compile`.

    Args:
        optimizer: a `keras.optimizers.Optimizer`.
        op: "average" over ranks, or "sum".
        sparse_as_dense: reduce embedding gradients as full tensors; None: so on a GPU.

    Returns:
        `optimizer` itself.

    Raises:
        UserError: not an optimizer, or already distributed with other settings.
    """
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise UserError(f"optimizer: got {type(optimizer).__name__}; give a keras Optimizer")
    if op not in ("average", "sum"):
        raise UserError(f"op: got {op!r}; give 'average' or 'sum'")
    existing = distribution_of(optimizer)
    if existing is None:
        setattr(
            optimizer, _ATTRIBUTE, Distribution(optimizer, GradientReduction(op, sparse_as_dense))
        )
    elif (existing.reduction.op, existing.reduction.sparse_as_dense) != (op, sparse_as_dense):
        raise UserError("optimizer: already distributed with other settings; make a new one")
    return optimizer


def distribution_of(optimizer: Any) -> Distribution | None:
    """How an optimizer is distributed, or None for a plain one."""
    found: Distribution | None = getattr(optimizer, _ATTRIBUTE, None)
    return found


def needed_distribution(model: Any) -> Distribution:
    """How a model's optimizer is distributed.

    Raises:
        UserError: it is plain, and each rank would train on its own.
    """
    found = distribution_of(model.optimizer)
    if found is None:
        raise UserError("optimizer: not distributed; call hvdcore.keras.distribute(model)")
    return found


def batches_per_update(optimizer: Any) -> int:
    """How many batches an optimizer adds up before it changes the weights, by Keras's
    `gradient_accumulation_steps` or Horovod's `backward_passes_per_step`."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    connection = _hooks().connection_of(optimizer)
    passes: int = 1 if connection is None else connection.settings.backward_passes_per_step
    return passes * (getattr(optimizer, "gradient_accumulation_steps", None) or 1)


class Distribution:
    """How one optimizer is distributed. Horovod's hooks call this reduction in its `apply`."""

    def __init__(self, optimizer: Any, reduction: GradientReduction) -> None:
        self.reduction = reduction
        hooks = _hooks()
        settings = hooks.Settings(name="hvdcore")
        hooks.connect(
            optimizer, settings, lambda g, _variables, _name: reduction(g), _check_context
        )
        self._optimizer = optimizer

    def remove(self, optimizer: Any) -> None:
        """Make the optimizer plain again."""
        _hooks().disconnect(optimizer)
        vars(optimizer).pop(_ATTRIBUTE, None)

    def capturing(self) -> AbstractContextManager[list[list[Any]]]:
        """Within the block `apply` only keeps the gradients it is given, one list for each call."""
        found: AbstractContextManager[list[list[Any]]] = self._connection().capturing()
        return found

    def apply_reduced(self, grads: Sequence[Any], trainable_variables: Any) -> None:
        """Update from gradients that are reduced already; nothing is communicated."""
        with self._connection().without_reduction():
            self._optimizer.apply(grads, trainable_variables)

    def _connection(self) -> Any:
        return _hooks().connection_of(self._optimizer)


@cache
def _hooks() -> Any:
    """Horovod's own hooks into the optimizers of Keras 3."""
    engine()  # says what is wrong where Horovod cannot be used
    from horovod._keras import keras3

    return keras3


def _check_context() -> None:
    """Refuse the two places where a collective would fail far away, or hang."""
    graph = tf.compat.v1.get_default_graph() if not tf.executing_eagerly() else None
    if graph is None:
        return
    if inside_conditional(graph):
        # Ranks that decide differently: one skips the collective, and the others hang.
        raise UserError(
            "optimizer: it is applied inside of tf.cond, where ranks that decide differently would "
            "wait for each other; apply it outside"
        )
    if inside_xla(graph):
        # Horovod's operations have no XLA kernel (horovod issue 2590).
        raise UserError(
            "jit_compile: XLA cannot compile the communication; call "
            "hvdcore.keras.distribute(model) after model.compile, or compile with jit_compile=False"
        )


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
            always so, as each number of rows would be compiled again.

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
