"""Distributed optimizers for Keras 2, which TensorFlow 2.16 and later have as tf_keras.

After horovod/_keras/__init__.py of Horovod 0.28.1, copyright 2017 Uber Technologies, Inc.,
Apache License 2.0. Here also gradients that go to `apply_gradients` past all other methods are
reduced.
"""

from __future__ import annotations

import sys
from typing import Any

import tensorflow as tf
from horovod._keras.inherit import inherit_exclusions
from horovod._keras.settings import Settings
from horovod.tensorflow.gradients import key_of, mark_reduced, reduce_shared, reduced_by

__all__ = [
    "CallableList",
    "distributed_copy",
    "is_distributed",
    "is_optimizer",
    "of_config",
    "with_state_of",
]


class CallableList(list):
    """Lets a script call `optimizer.variables()` where Keras has made it a property."""

    def __call__(self) -> CallableList:
        return self


def is_optimizer(value: Any) -> bool:
    """Whether it is an optimizer of Keras 2, new or legacy."""
    tf_keras = sys.modules.get("tf_keras")
    if tf_keras is None:
        return False
    kinds = (tf_keras.optimizers.Optimizer, tf_keras.optimizers.legacy.Optimizer)
    return isinstance(value, kinds)


def distributed_copy(optimizer: Any, settings: Settings) -> Any:
    """A new optimizer of the same configuration, of a class that reduces gradients."""
    copy = _distributed_class(type(optimizer), settings).from_config(optimizer.get_config())
    inherit_exclusions(copy, optimizer)
    return copy


def is_distributed(optimizer: Any) -> bool:
    """Whether an optimizer reduces gradients."""
    return hasattr(optimizer, "_horovod_reduction")


def of_config(cls: type, config: dict[str, Any]) -> Any:
    """An optimizer as a file describes it, which may be a legacy one of the same name."""
    legacy = getattr(sys.modules["tf_keras"].optimizers.legacy, cls.__name__, None)
    if legacy is not None and "decay" in config and "is_legacy_optimizer" not in config:
        cls = legacy
    return cls.from_config(config)


def with_state_of(distributed: Any, optimizer: Any, variables: Any) -> Any:
    """The distributed copy of an optimizer, with the state of the original."""
    if hasattr(optimizer, "build"):
        distributed.build(variables)
        for own, value in zip(distributed.variables, optimizer.variables, strict=True):
            own.assign(value)
    else:
        distributed._create_all_weights(variables)
        distributed.set_weights(optimizer.get_weights())
    return distributed


def _distributed_class(plain: type, settings: Settings) -> type:
    """A subclass with its parent's name, by which Keras 2 finds the plain class when it loads."""

    class Distributed(plain):  # type: ignore[misc, valid-type]
        _HAS_AGGREGATE_GRAD = True

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._horovod_reduction = settings.reduction()
            self._local_vars: set[Any] = set()
            self._agg_helper = settings.accumulation()
            self.process_set = settings.process_set
            self.scale_local_gradients = settings.scale_local_gradients

        @property
        def variables(self) -> CallableList:
            found = super().variables
            return CallableList(found() if callable(found) else found)

        def register_local_var(self, var: Any) -> None:
            """Leave a variable's gradient to this process: it is not reduced."""
            if self._agg_helper is not None:
                self._agg_helper.register_local_var(var)
            else:
                self._local_vars.add(key_of(var))

        def compute_gradients(self, loss: Any, var_list: Any, tape: Any = None) -> Any:
            """The reduced gradients, with their variables."""
            return self._compute_gradients(loss, var_list, None, tape)

        def _compute_gradients(
            self, loss: Any, var_list: Any, grad_loss: Any = None, tape: Any = None
        ) -> Any:
            tape = tf.GradientTape() if tape is None else tape
            if hasattr(plain, "_compute_gradients"):
                pairs = super()._compute_gradients(loss, var_list, grad_loss, tape=tape)
            else:
                pairs = super().compute_gradients(loss, var_list, tape=tape)
            grads, weights = zip(*pairs, strict=True)
            return list(zip(self._allreduce(grads, weights), weights, strict=True))

        def get_gradients(self, loss: Any, params: Any) -> Any:
            """The reduced gradients (graph execution)."""
            return self._allreduce(super().get_gradients(loss, params), params)

        def _aggregate_gradients(self, grads_and_vars: Any) -> Any:
            if hasattr(plain, "_aggregate_gradients"):
                return super()._aggregate_gradients(grads_and_vars)
            return super().aggregate_gradients(grads_and_vars)

        def _allreduce(self, grads: Any, variables: Any) -> list[Any]:
            if self._agg_helper is not None:
                reduced = self._agg_helper.compute_gradients(tuple(grads), tuple(variables))
            else:
                reduced = reduce_shared(
                    self._horovod_reduction,
                    grads,
                    variables,
                    self._local_vars,
                    self.scale_local_gradients,
                    self.process_set,
                )
            mark_reduced(reduced, self)
            self._horovod_reduced = True
            return list(reduced)

        def apply_gradients(self, grads_and_vars: Any, *args: Any, **kwargs: Any) -> Any:
            """Apply gradients; those that nothing has reduced yet are reduced first."""
            pairs = list(grads_and_vars)
            if not self._came_reduced(pairs) and not _skips(kwargs):
                grads, variables = zip(*pairs, strict=True)
                pairs = list(zip(self._allreduce(grads, variables), variables, strict=True))
            self._horovod_reduced = False
            plain_apply = super().apply_gradients
            if self._agg_helper is None:
                return plain_apply(pairs, *args, **kwargs)
            return self._agg_helper.apply_gradients(
                lambda: plain_apply(pairs, *args, **kwargs), self, pairs, *args, **kwargs
            )

        def _came_reduced(self, pairs: Any) -> bool:
            # After one of this optimizer's own methods they count as reduced even if they were
            # changed since (clipped, unscaled).
            if getattr(self, "_horovod_reduced", False) or not pairs:
                return True
            return reduced_by([grad for grad, _ in pairs]) is not None

    Distributed.__name__ = Distributed.__qualname__ = plain.__name__
    Distributed.__module__ = "horovod._keras"
    return Distributed


def _skips(kwargs: dict[str, Any]) -> bool:
    """Whether the caller says that the gradients are reduced."""
    return bool(kwargs.get("skip_gradients_aggregation")) or not kwargs.get(
        "experimental_aggregate_gradients", True
    )
