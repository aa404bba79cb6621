"""Broadcasts of all global variables, for programs that build graphs and run sessions.

After horovod/tensorflow/__init__.py of Horovod 0.28.1, copyright 2016 The TensorFlow Authors, 2019
Uber Technologies, Inc. and Microsoft, Apache License 2.0.
"""

from __future__ import annotations

from typing import Any

from horovod.tensorflow.functions import broadcast_variables
from horovod.tensorflow.util import _executing_eagerly

import tensorflow as tf

__all__ = ["BroadcastGlobalVariablesHook", "broadcast_global_variables"]


def broadcast_global_variables(root_rank: int) -> Any:
    """An operation that gives every process the root's global variables. Graph execution only.

    Raises:
        RuntimeError: in eager execution, where there are no global variables.
    """
    if _executing_eagerly():
        raise RuntimeError(
            "hvd.broadcast_global_variables() does not support eager execution. Please use "
            "`hvd.broadcast_variables(<model/optimizer variables>)` instead."
        )
    return broadcast_variables(tf.compat.v1.global_variables(), root_rank)


class BroadcastGlobalVariablesHook(tf.compat.v1.train.SessionRunHook):
    """Gives every process the root's global variables when a session begins.

    Args:
        root_rank: whose variables are sent.
        device: where the operations run.
    """

    def __init__(self, root_rank: int, device: str = "") -> None:
        super().__init__()
        self.root_rank = root_rank
        self.device = device
        self.bcast_op: Any = None

    def begin(self) -> None:
        graph = tf.compat.v1.get_default_graph()
        if self.bcast_op is None or self.bcast_op.graph is not graph:
            with tf.device(self.device):
                self.bcast_op = broadcast_global_variables(self.root_rank)

    def after_create_session(self, session: Any, coord: Any) -> None:
        session.run(self.bcast_op)
