"""The private attributes of Keras and TensorFlow that are used here, each behind one function.

Keras and TensorFlow have no public way to these. Tried with Keras 3.15 and TensorFlow 2.21; another
version that lacks one of them fails in this module, by name.
"""

from __future__ import annotations

from typing import Any

__all__ = [
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
