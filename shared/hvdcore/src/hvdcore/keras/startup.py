"""Starting a Keras rank: controller, size check and device."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from hvdcore.errors import UserError
from hvdcore.keras.collectives import check_backend, engine
from hvdcore.keras.loading import without_chatter
from hvdcore.runtime.environment import cores_available, threads_per_rank
from hvdcore.runtime.startup import start_horovod
from hvdcore.runtime.world import World

__all__ = [
    "init",
    "pin_device",
]


def init() -> World:
    """Start Horovod and return this process's World. Every rank must call; again is harmless.

    Call it before the first tensor is made: a device can be chosen only until then. With no
    launcher this is Horovod with one rank.

    Raises:
        UserError: Horovod's build does not fit TensorFlow, Keras runs on another backend, another
            number of ranks came up than was asked for, or this rank has no GPU of its own.
    """
    check_backend()
    hvd = engine()
    was_running = bool(hvd.is_initialized())
    world = start_horovod(hvd)
    if not was_running:
        _share_cores(world.local_size)
        pin_device(world.local_rank)
    return world


def _share_cores(local_size: int) -> None:
    """Threads for ranks that came up without hvdcore's launch, which sets them before TensorFlow.

    TensorFlow starts a thread for each core of the host, in every rank.
    """
    if local_size > 1 and "TF_NUM_INTRAOP_THREADS" not in os.environ:
        threads = threads_per_rank(local_size, cores_available())
        with contextlib.suppress(RuntimeError):  # a tensor was made already: too late
            tf.config.threading.set_intra_op_parallelism_threads(threads)


def pin_device(local_rank: int) -> None:
    """Give this rank the GPU with its local rank, and let its memory grow as needed.

    One visible GPU is taken as it is: the scheduler has then chosen it for this rank.

    Raises:
        UserError: there are several GPUs, but fewer than local ranks.
    """
    with without_chatter():  # a CUDA library without a driver is an error to it, not to us
        gpus: Sequence[Any] = tf.config.list_physical_devices("GPU")
    if not gpus:
        return
    if 1 < len(gpus) <= local_rank:
        raise UserError(
            f"--np: local rank {local_rank} has no GPU, this host shows {len(gpus)}; "
            "start at most that many ranks on a host"
        )
    mine = gpus[0] if len(gpus) == 1 else gpus[local_rank]
    tf.config.set_visible_devices(mine, "GPU")
    tf.config.experimental.set_memory_growth(mine, True)
