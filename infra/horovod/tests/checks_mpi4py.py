"""Checks of Horovod beside mpi4py in one process, under MPI."""

from __future__ import annotations

import horovod.numpy as hvd
import numpy as np


def start() -> int:
    """Starts Horovod before mpi4py, which then finds MPI running; the rank."""
    hvd.init()
    return hvd.rank()


def check_both_communicate() -> None:
    from mpi4py import MPI

    total = hvd.size() * (hvd.size() + 1) // 2
    assert MPI.COMM_WORLD.rank == hvd.rank()
    assert hvd.mpi_threads_supported()
    for _ in range(20):
        assert MPI.COMM_WORLD.allreduce(hvd.rank() + 1) == total
        assert hvd.allreduce(np.array(hvd.rank() + 1), op=hvd.Sum) == total


def check_a_communicator_of_mpi4py() -> None:
    from mpi4py import MPI

    hvd.shutdown()
    alone = MPI.COMM_WORLD.Split(MPI.COMM_WORLD.rank)
    hvd.init(comm=alone)
    assert hvd.size() == 1
    hvd.shutdown()
    hvd.init(comm=MPI.COMM_WORLD)
    assert hvd.size() == MPI.COMM_WORLD.size
    assert hvd.allreduce(np.ones(1), op=hvd.Sum) == hvd.size()
