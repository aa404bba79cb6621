"""The private attributes of Keras and TensorFlow that are used here, each behind one function.

Keras and TensorFlow have no public way to these. Tried with Keras 3.15 and TensorFlow 2.21; another
version that lacks one of them fails in this module, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "inside_conditional",
    "inside_xla",
    "reduce_before_clipping",
    "restore_clipping",
    "second_moments",
]

_CLIP = "_clip_gradients"


def reduce_before_clipping(optimizer: Any, reduce: Callable[[Sequence[Any]], Any]) -> None:
    """Have a Keras optimizer that accumulates gradients pass their mean through `reduce`.

    Keras calls `_clip_gradients` once per update, on the accumulated mean, also without clipping.
    """
    clip = getattr(optimizer, _CLIP)
    setattr(optimizer, _CLIP, lambda gradients: clip(reduce(gradients)))


def restore_clipping(optimizer: Any) -> None:
    """Undo `reduce_before_clipping`."""
    vars(optimizer).pop(_CLIP, None)


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
