"""The private attributes of Keras and TensorFlow that are used here, each behind one function.

Keras and TensorFlow have no public way to these. Tried with Keras 3.15 and TensorFlow 2.21; another
version that lacks one of them fails in this module, by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

__all__ = [
    "compute_in_order",
    "inside_conditional",
    "inside_xla",
    "second_moments",
]


def second_moments(optimizer: Any) -> list[Any]:
    """The second moments of a `keras.optimizers.Adam`, by the index of their variable."""
    moments: list[Any] = optimizer._velocities
    return moments


def inside_conditional(graph: Any) -> bool:
    """Whether a graph that is being traced is a branch of `tf.cond`."""
    return type(graph).__name__ == "CondBranchFuncGraph"


def inside_xla(graph: Any) -> bool:
    """Whether XLA compiles a graph that is being traced, or one around it."""
    from tensorflow.python.ops import control_flow_util

    return bool(control_flow_util.GraphOrParentsInXlaContext(graph))


def compute_in_order(stages: Sequence[Sequence[Any]]) -> None:
    """Make a graph compute the tensors of a stage before it begins what only later stages need.

    Of the operations that could run next, TensorFlow takes any: without this the gradients of the
    last layers are often computed last, although they could be the first.

    Args:
        stages: tensors of the graph that is being built. Others exist already.
    """
    graph = tf.compat.v1.get_default_graph()
    done: set[Any] = set()
    previous: list[Any] = []
    for stage in stages:
        ends = [tensor.op for tensor in stage if getattr(tensor, "graph", None) is graph]
        needed = _not_in(ends, done)
        for operation in needed:
            # Those that start the stage: all that they need existed before it.
            if previous and not any(source in needed for source in _sources(operation)):
                operation._add_control_inputs(previous)
        done |= needed
        previous = ends or previous


def _not_in(ends: Sequence[Any], done: set[Any]) -> set[Any]:
    """The operations that `ends` need, themselves included, without those in `done`."""
    found: set[Any] = set()
    waiting = list(ends)
    while waiting:
        operation = waiting.pop()
        if operation not in done and operation not in found:
            found.add(operation)
            waiting.extend(_sources(operation))
    return found


def _sources(operation: Any) -> list[Any]:
    return [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
