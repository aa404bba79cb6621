"""Elastic training: states that are kept, restored and sent to ranks that join.

After horovod/tensorflow/elastic.py of Horovod 0.28.1, copyright 2020 Uber Technologies, Inc.,
Apache License 2.0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from horovod.common.elastic import ObjectState, run_fn
from horovod.common.exceptions import HorovodInternalError
from horovod.tensorflow.functions import broadcast_object, broadcast_object_fn, broadcast_variables
from horovod.tensorflow.mpi_ops import init, rank, shutdown
from horovod.tensorflow.util import _executing_eagerly, native_variable, optimizer_variables

import tensorflow as tf
from tensorflow.python.framework import ops

__all__ = ["TensorFlowKerasState", "TensorFlowState", "run"]


def run(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a function that trains while ranks come and go.

    When ranks come or go the others are brought back to this point: their states are made equal,
    and the function is called again. No collective may be called outside of it, for new ranks go
    straight to the exchange of states.

    Args:
        func: its first argument is a `horovod.common.elastic.State`.
    """

    @functools.wraps(func)
    def wrapper(state: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return func(state, *args, **kwargs)
        except (tf.errors.UnknownError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            # A rank that is gone makes operations fail here; Keras may put words around it.
            if "Horovod" in str(error):
                raise HorovodInternalError(error) from error
            raise

    return run_fn(wrapper, _reset)


def _reset() -> None:
    shutdown()
    init()


class TensorFlowKerasState(ObjectState):
    """A Keras model, its optimizer and more, to be committed, restored and sent to new ranks.

    Args:
        model: of Keras 3 or tf_keras, built.
        optimizer: the model's own if None.
        backend: Keras's backend, for sessions.
        kwargs: other values to keep, which become attributes.

    Raises:
        ValueError: the model is not built.
    """

    def __init__(
        self, model: Any, optimizer: Any = None, backend: Any = None, **kwargs: Any
    ) -> None:
        if not getattr(model, "built", True):
            raise ValueError("Model must be built first. Run `model.build(input_shape)`.")
        self.model = model
        self.optimizer = optimizer or model.optimizer
        self.backend = backend
        self._build_optimizer()
        if backend is None or _executing_eagerly():
            self._bcast_model = self._broadcast_eagerly
            bcast_object = broadcast_object
        else:
            # One operation for all broadcasts to come: each new one would count on in its name.
            send = broadcast_variables(tf.compat.v1.global_variables(), root_rank=0)
            self._bcast_model = lambda: backend.get_session().run(send)
            bcast_object = broadcast_object_fn(session=backend.get_session())
        self._save_model()
        super().__init__(bcast_object=bcast_object, get_rank=rank, **kwargs)

    def save(self) -> None:
        self._save_model()
        super().save()

    def restore(self) -> None:
        self._load_model()
        super().restore()

    def sync(self) -> None:
        self._bcast_model()
        self._save_model()
        super().sync()

    def _build_optimizer(self) -> None:
        """Ranks must hold equally many variables, those that have just come too."""
        make_slots = getattr(self.optimizer, "_create_all_weights", None)  # Keras 2's legacy ones
        if make_slots is not None and _executing_eagerly():
            make_slots(self.model.trainable_variables)
            return
        build = getattr(self.optimizer, "build", None)
        if build is None or not _executing_eagerly() or getattr(self.optimizer, "built", False):
            return
        if hasattr(self.optimizer, "_built") and self.optimizer._built:
            return
        if self.model.trainable_variables:
            build(self.model.trainable_variables)
            if hasattr(self.optimizer, "built"):
                self.optimizer.built = True

    def _variables(self) -> list[Any]:
        return [*self.model.weights, *optimizer_variables(self.optimizer)]

    def _broadcast_eagerly(self) -> None:
        broadcast_variables(self._variables(), root_rank=0)

    def _save_model(self) -> None:
        if _executing_eagerly():
            self._saved = [native_variable(v).numpy() for v in self._variables()]
        else:
            self._saved = self.model.get_weights(), self.optimizer.get_weights()

    def _load_model(self) -> None:
        if _executing_eagerly():
            for variable, value in zip(self._variables(), self._saved, strict=False):
                variable.assign(value)
        else:
            self.model.set_weights(self._saved[0])
            self.optimizer.set_weights(self._saved[1])


class TensorFlowState(ObjectState):
    """TensorFlow variables and more, to be committed, restored and sent to new ranks.

    Args:
        variables: all global variables if None (graph execution).
        session: the default session if None (graph execution).
        kwargs: other values to keep, which become attributes.
    """

    def __init__(self, variables: Any = None, session: Any = None, **kwargs: Any) -> None:
        self.variables = list(variables or tf.compat.v1.global_variables())
        self.session = session
        if _executing_eagerly():
            bcast_object: Any = broadcast_object
        else:
            self.session = session or ops.get_default_session()
            self._send = broadcast_variables(self.variables, root_rank=0)
            bcast_object = broadcast_object_fn(session=self.session)
        self._save_model()
        super().__init__(bcast_object=lambda obj: bcast_object(obj), get_rank=rank, **kwargs)

    def save(self) -> None:
        self._save_model()
        super().save()

    def restore(self) -> None:
        self._load_model()
        super().restore()

    def sync(self) -> None:
        if _executing_eagerly():
            broadcast_variables(self.variables, root_rank=0)
        else:
            self.session.run(self._send)
        self._save_model()
        super().sync()

    def _save_model(self) -> None:
        if _executing_eagerly():
            self._values = [native_variable(v).numpy() for v in self.variables]
        else:
            self._values = self.session.run(self.variables)

    def _load_model(self) -> None:
        for variable, value in zip(self.variables, self._values, strict=True):
            if _executing_eagerly():
                variable.assign(value)
            else:
                variable.load(value, self.session)
