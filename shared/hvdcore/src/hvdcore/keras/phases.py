"""Owns the heartbeat inside a compiled step: when a rank starts and stops waiting for others.

A watchdog blames the rank that is silent outside of communication. A whole Keras step is one call
into TensorFlow, so the beat around the collective must be part of the graph.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from hvdcore.runtime import heartbeat

__all__ = ["inside_collective", "waiting"]


@contextmanager
def waiting() -> Iterator[None]:
    """Around a collective outside of any graph: 'communicate' within, 'compute' after."""
    heartbeat.beat("communicate")
    yield
    heartbeat.beat("compute")


@contextmanager
def inside_collective(ready: list[Any]) -> Iterator[list[Any]]:
    """Beat 'communicate' once `ready` is computed, and 'compute' when the block's results are.

    Args:
        ready: what the collective waits for on this rank.

    Yields:
        A list that the block fills with its results. Nothing is added when unsupervised.
    """
    results: list[Any] = []
    if heartbeat.HEARTBEAT_VARIABLE not in os.environ:
        yield results
        return
    with tf.control_dependencies(_flat(ready)):
        began = _beat("communicate")
    with tf.control_dependencies([began]):
        yield results
    with tf.control_dependencies(_flat(results)):
        _beat("compute")


def _beat(phase: str) -> Any:
    def tell() -> int:
        heartbeat.beat(phase)
        return 0

    return tf.numpy_function(tell, [], tf.int64)


def _flat(values: list[Any]) -> list[Any]:
    return [v.values if isinstance(v, tf.IndexedSlices) else v for v in values]
