"""Horovod for Keras: Keras 3, or tf_keras where TF_USE_LEGACY_KERAS=1 is set."""

# ruff: noqa: F401 (names for users)
from horovod.tensorflow import (
    AdaSum,
    Adasum,
    Average,
    Compression,
    ProcessSet,
    Sum,
    add_process_set,
    ccl_built,
    cross_rank,
    cross_size,
    cuda_built,
    ddl_built,
    global_process_set,
    gloo_built,
    gloo_enabled,
    init,
    is_initialized,
    local_rank,
    local_size,
    mpi_built,
    mpi_enabled,
    mpi_threads_supported,
    nccl_built,
    rank,
    remove_process_set,
    rocm_built,
    shutdown,
    size,
    start_timeline,
    stop_timeline,
)

# After horovod.tensorflow, which it needs.
from horovod._keras.api import (  # isort: skip
    DistributedOptimizer,
    PartialDistributedOptimizer,
    allgather,
    allreduce,
    broadcast,
    broadcast_global_variables,
    load_model,
    reducescatter,
)
from horovod.keras import callbacks, elastic  # isort: skip
