"""Small functions on TensorFlow's modes and variables.

After horovod/tensorflow/util.py of Horovod 0.28.1, copyright 2019 Uber Technologies, Inc.,
Apache License 2.0. Here Keras 3 variables, which are no `tf.Variable`, are known too.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

__all__ = ["is_keras_variable", "native_variable", "optimizer_variables", "runs_elastic"]


def _executing_eagerly() -> bool:
    """Whether operations run at once."""
    return bool(context.executing_eagerly())


def _make_subgraph(f: Callable[..., Any]) -> Any:
    return tf.function(f, autograph=False)


def _cache(f: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps results, those of eager execution apart from those of graphs."""
    cache: dict[Any, Any] = {}

    @functools.wraps(f)
    def wrapper(*args: Any) -> Any:
        key = (args, _executing_eagerly())
        if key not in cache:
            cache[key] = f(*args)
        return cache[key]

    return wrapper


def runs_elastic() -> bool:
    """Whether the number of processes may change, so that graphs must ask for it when they run."""
    return bool(int(os.environ.get("HOROVOD_ELASTIC", "0")))


def is_keras_variable(value: Any) -> bool:
    """Whether it is a variable of Keras 3 (Keras 2's are `tf.Variable`)."""
    keras = sys.modules.get("keras")
    kind = getattr(keras, "Variable", None)
    return isinstance(kind, type) and isinstance(value, kind)


def native_variable(value: Any) -> Any:
    """TensorFlow's variable behind a Keras 3 variable; anything else as it is."""
    return value.value if is_keras_variable(value) else value


def optimizer_variables(optimizer: Any) -> list[Any]:
    """An optimizer's state and hyperparameters, as far as they are variables, of whichever Keras.

    Keras 2 leaves the learning rate out of its `variables`, so that a rank that had another one
    (restored, or lowered on a plateau) would keep it and make other steps than the rest.
    """
    if optimizer is None:
        return []
    found = getattr(optimizer, "variables", [])
    variables = list(found() if callable(found) else found)
    inner = getattr(optimizer, "inner_optimizer", None)  # below a LossScaleOptimizer
    known = {native_variable(v).ref() for v in variables}
    extra = [v for v in _keras2_hyperparameters(inner or optimizer) if v.ref() not in known]
    return variables + extra


def _keras2_hyperparameters(optimizer: Any) -> list[Any]:
    attributes = getattr(optimizer, "__dict__", {})
    legacy = attributes.get("_hyper") or {}
    values = [attributes.get("_learning_rate"), *(legacy[name] for name in sorted(legacy))]
    return [value for value in values if isinstance(value, tf.Variable)]


def vars_to_refs(variables: Any) -> Any:
    """Variables, in lists of any depth, as something that can be hashed."""
    if isinstance(variables, list):
        return tuple(vars_to_refs(v) for v in variables)
    return native_variable(variables).ref()


def refs_to_vars(refs: Any) -> Any:
    """The inverse of `vars_to_refs`, with native variables."""
    if isinstance(refs, tuple):
        return [refs_to_vars(r) for r in refs]
    return refs.deref()
