"""Distributed optimizers for Keras 3.

Every training in Keras 3, be it `fit` or a loop of one's own, ends in the optimizer's `apply`. The
class of a distributed optimizer has another `apply`, which reduces the gradients first, and
otherwise is its parent: its name, its state and what Keras writes of it into a file are the plain
optimizer's, so that a saved model loads without Horovod. `update_step`, which changes the weights,
checks that the way there led through that `apply`; a Keras that goes another way is told so, and
does not train each rank by itself.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from horovod._keras.connection import Connection, check_context
from horovod._keras.inherit import (
    inherit_exclusions,
    inherit_state_when_built,
    state_after_build,
)
from horovod._keras.keras2 import CallableList
from horovod._keras.settings import Settings

__all__ = [
    "connect",
    "connection_of",
    "disconnect",
    "distributed_copy",
    "is_keras3",
    "is_optimizer",
]

_ATTRIBUTE = "_horovod_connection"


def is_keras3(keras: Any) -> bool:
    """Whether a module is Keras 3 or later."""
    return int(str(getattr(keras, "__version__", "0")).split(".")[0]) >= 3


def is_optimizer(value: Any) -> bool:
    """Whether it is an optimizer of Keras 3.

    Raises:
        RuntimeError: it is, but Keras runs on another backend than TensorFlow.
    """
    keras = sys.modules.get("keras")
    if keras is None or not is_keras3(keras) or not isinstance(value, keras.optimizers.Optimizer):
        return False
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.backend.backend()}: set KERAS_BACKEND=tensorflow before the "
            "first import of Keras, or use horovod.torch or horovod.jax"
        )
    return True


def distributed_copy(optimizer: Any, settings: Settings) -> Any:
    """A new optimizer of the same configuration that reduces gradients.

    It goes on with the state of one that is built, once it is built for the same variables.
    """
    copy = _plain_class(type(optimizer)).from_config(optimizer.get_config())
    inherit_exclusions(copy, optimizer)
    inherit_state_when_built(copy, optimizer)
    return connect(copy, settings)


def connect(
    optimizer: Any,
    settings: Settings,
    reduction: Callable[..., list[Any]] | None = None,
    check: Callable[[], None] | None = None,
) -> Any:
    """Make an optimizer distributed, in place: its state stays.

    Args:
        optimizer: of Keras 3, plain.
        settings: how to reduce.
        reduction: reduces instead, (gradients, variables, name) -> gradients.
        check: called before each reduction, to refuse the graph it would be made in; instead of
            `check_context`.

    Returns:
        The optimizer.

    Raises:
        ValueError: it is distributed already.
    """
    if connection_of(optimizer) is not None:
        raise ValueError("optimizer: it is distributed already; give the plain one")
    _let_loss_scaling_reduce_first()
    distributed = _distributed_class(type(optimizer), settings, reduction, check or check_context)
    object.__setattr__(optimizer, "__class__", distributed)
    return optimizer


def disconnect(optimizer: Any) -> Any:
    """Make an optimizer plain again, in place. Returns it."""
    optimizer.__dict__.pop(_ATTRIBUTE, None)
    object.__setattr__(optimizer, "__class__", _plain_class(type(optimizer)))
    return optimizer


def connection_of(optimizer: Any) -> Connection | None:
    """How an optimizer is connected with those of other ranks; None for a plain one."""
    if not isinstance(optimizer, _Distributed):
        return None
    found: Connection | None = optimizer.__dict__.get(_ATTRIBUTE)
    if found is None:
        # Made when first needed, so that copies by from_config or pickle have one of their own.
        with tf.init_scope():  # its variables outlive the graph that is being made
            found = Connection(optimizer)
        optimizer.__dict__[_ATTRIBUTE] = found
    return found


class _Distributed:
    """In front of a plain optimizer's class."""

    _horovod_settings: Settings
    _horovod_reduction: Callable[..., list[Any]] | None
    _horovod_check: Callable[[], None]

    def build(self, variables: Any) -> None:
        super().build(variables)
        state_after_build(self)

    @tf.autograph.experimental.do_not_convert
    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        """Reduce the gradients, then update; see `keras.optimizers.Optimizer.apply`."""
        connection_of(self).apply(self, super().apply, grads, trainable_variables)

    def apply_gradients(self, grads_and_vars: Any, **options: Any) -> Any:
        """`apply` for pairs. Options are Keras 2's: that gradients are reduced already."""
        options.pop("name", None)
        skip = options.pop("skip_gradients_aggregation", False)
        skip = not options.pop("experimental_aggregate_gradients", True) or skip
        if options:
            raise TypeError(f"apply_gradients: unknown option {', '.join(options)}")
        with connection_of(self).without_reduction() if skip else contextlib.nullcontext():
            return super().apply_gradients(grads_and_vars)

    def update_step(self, *args: Any, **kwargs: Any) -> None:
        connection_of(self).check_inside()
        super().update_step(*args, **kwargs)

    def _clip_gradients(self, grads: Sequence[Any]) -> Any:
        return super()._clip_gradients(connection_of(self).reduce_accumulated(self, grads))

    def stateless_apply(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "stateless_apply does not reduce gradients over ranks; use apply or apply_gradients"
        )

    def compute_gradients(self, loss: Any, var_list: Any, tape: Any = None) -> Any:
        """Pairs of reduced gradients and variables, as Keras 2's optimizers give them.

        Args:
            loss: a scalar, with the tape that recorded it; or a function that returns it.
            var_list: variables.
            tape: a `tf.GradientTape`.
        """
        variables = list(var_list() if callable(var_list) else var_list)
        gradients = _gradients(loss, variables, tape)
        return list(zip(connection_of(self).reduced(gradients, variables), variables, strict=True))

    def _compute_gradients(
        self, loss: Any, var_list: Any, grad_loss: Any = None, tape: Any = None
    ) -> Any:
        return self.compute_gradients(loss, var_list, tape)

    def minimize(self, loss: Any, var_list: Any, tape: Any = None) -> Any:
        """One step, as Keras 2's optimizers make it; arguments as in `compute_gradients`."""
        return self.apply_gradients(self.compute_gradients(loss, var_list, tape))

    @property
    def variables(self) -> CallableList:
        """The optimizer's variables; `variables()` gives them too, as in Keras 2."""
        return CallableList(super().variables)

    def register_local_var(self, var: Any) -> None:
        """Leave a variable's gradient to this rank: it is not reduced."""
        connection_of(self).register_local_var(var)

    @property
    def lr(self) -> Any:
        return self.learning_rate

    @lr.setter
    def lr(self, value: Any) -> None:
        self.learning_rate = value

    @property
    def _agg_helper(self) -> Any:
        return connection_of(self).accumulation

    @property
    def process_set(self) -> Any:
        return self._horovod_settings.process_set


def _distributed_class(
    plain: type,
    settings: Settings,
    reduction: Callable[..., list[Any]] | None,
    check: Callable[[], None],
) -> type:
    attributes = {
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__,
        "_horovod_plain_class": plain,
        "_horovod_settings": settings,
        "_horovod_reduction": staticmethod(reduction) if reduction else None,
        "_horovod_check": staticmethod(check),
    }
    distributed = type(plain.__name__, (_Distributed, plain), attributes)
    _save_as(distributed, plain)
    return distributed


def _plain_class(cls: type) -> type:
    return getattr(cls, "_horovod_plain_class", cls)


def _save_as(distributed: type, plain: type) -> None:
    """Have Keras write the plain class into files, by the name it is exported or registered."""
    with contextlib.suppress(ImportError, AttributeError):
        from keras.src import api_export

        name = api_export.get_name_from_symbol(plain)
        if name is not None:
            api_export.REGISTERED_OBJS_TO_NAMES[distributed] = name
    with contextlib.suppress(ImportError, AttributeError):
        from keras.src.saving import object_registration

        names = object_registration.GLOBAL_CUSTOM_NAMES
        if plain in names:
            names[distributed] = names[plain]


def _gradients(loss: Any, variables: list[Any], tape: Any) -> list[Any]:
    if tape is None:
        if not callable(loss):
            raise ValueError("compute_gradients: a loss that is a tensor needs its tape")
        tape = tf.GradientTape()
    from horovod.tensorflow.util import native_variable

    native = [native_variable(v) for v in variables]
    if callable(loss):
        with tape:
            tape.watch(native)
            loss = loss()
    return list(tape.gradient(loss, native))


def _let_loss_scaling_reduce_first() -> None:
    """Under a `LossScaleOptimizer` reduce before it decides whether the gradients are finite.

    It decides by a condition in the graph. Ranks that decide differently, one skipping the step
    and one waiting in the communication of it, would wait for ever. Keras puts a LossScaleOptimizer
    around by itself under mixed_float16.
    """
    import keras

    kind = keras.optimizers.LossScaleOptimizer
    if getattr(kind.apply, "_horovod", False):
        return
    plain_apply = kind.apply

    def apply(self: Any, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        inner = connection_of(self.inner_optimizer)
        if inner is None:
            plain_apply(self, grads, trainable_variables)
            return

        def update(gradients: Sequence[Any], variables: Any) -> None:
            with inner.without_reduction():
                plain_apply(self, gradients, variables)

        inner.apply(self, update, grads, trainable_variables)

    apply._horovod = True  # type: ignore[attr-defined]
    kind.apply = apply
