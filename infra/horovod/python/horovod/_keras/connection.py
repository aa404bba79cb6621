"""What a distributed optimizer of Keras 3 does with gradients before they are applied."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from horovod._keras.settings import Settings
from horovod.tensorflow.gradients import key_of, mark_reduced, reduce_shared, reduced_by
from tensorflow.python.ops import control_flow_util

_numbers: collections.Counter[str] = collections.Counter()


class Connection:
    """What a distributed optimizer does with gradients before they are applied.

    Args:
        optimizer: of a class that `connect` made.
    """

    def __init__(self, optimizer: Any) -> None:
        self.settings: Settings = optimizer._horovod_settings
        self.accumulation = self.settings.accumulation()
        if self.accumulation is not None and optimizer.gradient_accumulation_steps:
            raise ValueError(
                "backward_passes_per_step and Keras's gradient_accumulation_steps do the same; "
                "give one of them"
            )
        self._reduction = optimizer._horovod_reduction
        self._check = optimizer._horovod_check
        self._allreduce_grads = self.settings.reduction()
        self._local: set[Any] = set()
        self._reducing = True
        self._inside = False
        self._captured: list[list[Any]] | None = None
        self._name: str | None = None
        # How often each graph applies the optimizer: its steps there may run at the same time.
        self._calls: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def register_local_var(self, variable: Any) -> None:
        """Leave a variable's gradient to this rank."""
        self._local.add(key_of(variable))
        if self.accumulation is not None:
            self.accumulation.register_local_var(variable)

    def reduced(self, gradients: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
        """The gradients, reduced (or added up until a step is due), and marked so."""
        name = self._step_name(gradients)
        if self.accumulation is not None:
            results = self.accumulation.compute_gradients(gradients, variables, name)
        else:
            results = self._reduce(gradients, variables, name)
        mark_reduced(results, self)
        return list(results)

    def apply(
        self,
        optimizer: Any,
        plain_apply: Callable[[Sequence[Any], Any], None],
        gradients: Sequence[Any],
        variables: Any,
    ) -> None:
        """Reduce and apply.

        Args:
            optimizer: whose `apply` was called.
            plain_apply: updates from reduced gradients, (gradients, variables).
            gradients: this rank's.
            variables: one for each gradient; None: those that the optimizer was built with.
        """
        gradients = list(gradients)
        if self._captured is not None:
            self._captured.append(gradients)
            return
        if self._reducing and gradients:
            self._check()
        known = optimizer._trainable_variables if variables is None else list(variables)
        reduced_already = reduced_by(gradients)
        if not self._reducing or not gradients:
            self._update(plain_apply, gradients, variables)
        elif self.accumulation is not None:
            if reduced_already is not self:
                gradients = self.reduced(gradients, known)
            self._apply_when_due(optimizer, plain_apply, gradients, variables, known)
        elif reduced_already is not None or optimizer.gradient_accumulation_steps:
            self._update(plain_apply, gradients, variables)
        else:
            self._update(plain_apply, self.reduced(gradients, known), variables)

    def reduce_accumulated(self, optimizer: Any, gradients: Sequence[Any]) -> Sequence[Any]:
        """Keras's own accumulation: the mean of several batches, just before it is clipped."""
        if not optimizer.gradient_accumulation_steps or not self._reducing:
            return gradients
        variables = optimizer._trainable_variables
        if len(gradients) != len(variables):
            if self._local or isinstance(self.settings.groups, list):
                raise ValueError(
                    "gradient_accumulation_steps: some variables have no gradient, so it is not "
                    "known which are local or grouped; use backward_passes_per_step"
                )
            variables = gradients  # nothing depends on which they are
        return self._reduce(gradients, variables, self._step_name(gradients))

    @contextlib.contextmanager
    def without_reduction(self) -> Iterator[None]:
        """Within the block gradients are applied as they come."""
        before, self._reducing = self._reducing, False
        try:
            yield
        finally:
            self._reducing = before

    @contextlib.contextmanager
    def capturing(self) -> Iterator[list[list[Any]]]:
        """Within the block `apply` only keeps the gradients it is given, one list for each call."""
        calls: list[list[Any]] = []
        self._captured = calls
        try:
            yield calls
        finally:
            self._captured = None

    def check_inside(self) -> None:
        """Raise RuntimeError if weights are about to change by gradients that are not reduced."""
        if not self._inside:
            raise RuntimeError(
                f"this Keras ({sys.modules['keras'].__version__}) updates weights without calling "
                "the optimizer's apply, so Horovod could not reduce the gradients; use "
                "hvd.DistributedGradientTape in a loop of your own, or another version of Keras"
            )

    def _reduce(self, gradients: Sequence[Any], variables: Sequence[Any], name: str) -> list[Any]:
        if self._reduction is not None:
            return list(self._reduction(gradients, variables, name))
        results = reduce_shared(
            self._allreduce_grads,
            gradients,
            variables,
            self._local,
            self.settings.scale_local_gradients,
            self.settings.process_set,
            name,
        )
        return [sum_equal_rows(g) if isinstance(g, tf.IndexedSlices) else g for g in results]

    def _update(self, plain_apply: Any, gradients: Sequence[Any], variables: Any) -> None:
        before, self._inside = self._inside, True
        try:
            plain_apply(gradients, variables)
        finally:
            self._inside = before

    def _apply_when_due(
        self,
        optimizer: Any,
        plain_apply: Any,
        gradients: Sequence[Any],
        variables: Any,
        known: Sequence[Any],
    ) -> None:
        if not optimizer.built:
            with tf.init_scope():  # a variable made in one branch would be unknown to the other
                optimizer.build(known)
                optimizer.built = True
        self.accumulation.apply_gradients(
            lambda: self._update(plain_apply, gradients, variables), optimizer
        )

    def _step_name(self, gradients: Sequence[Any]) -> str:
        """What ranks know a step's gradients by.

        Not by the optimizer's name, which counts what else a rank has made, but by the shapes; and
        where several optimizers have the same, by which was used first.
        """
        if self._name is None:
            shapes = [None if g is None else (g.dtype.name, str(g.shape)) for g in gradients]
            digest = hashlib.sha256(repr(shapes).encode()).hexdigest()[:8]
            base = f"{self.settings.name}_{digest}"
            self._name = f"{base}_{_numbers[base]}"
            _numbers[base] += 1
        if tf.executing_eagerly():
            return self._name
        graph = tf.compat.v1.get_default_graph()
        calls = self._calls[graph] = self._calls.get(graph, 0) + 1
        return self._name if calls == 1 else f"{self._name}_call{calls}"


def check_context() -> None:
    """Refuse a graph that XLA compiles: it cannot hold the communication.

    Raises:
        RuntimeError: with the way out.
    """
    if tf.executing_eagerly():
        return
    graph = tf.compat.v1.get_default_graph()
    if control_flow_util.GraphOrParentsInXlaContext(graph):
        raise RuntimeError(
            "XLA cannot compile Horovod's communication; pass jit_compile=False to model.compile "
            "(or to tf.function), or take the optimizer's step out of what is compiled"
        )


def sum_equal_rows(slices: Any) -> Any:
    """`tf.IndexedSlices` with each index once, its rows summed.

    Keras 3's optimizers treat a row that comes twice (from two ranks, or two samples) as two, and
    would square a and b by themselves in place of a + b.
    """
    indices, position = tf.unique(slices.indices)
    values = tf.math.unsorted_segment_sum(slices.values, position, tf.shape(indices)[0])
    return tf.IndexedSlices(values, indices, dense_shape=slices.dense_shape)
