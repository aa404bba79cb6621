"""Horovod for JAX, on CPU: collectives between processes, inside of jit and outside.

    import horovod.jax as hvd

    hvd.init()

    @jax.jit
    def step(params, batch):
        grads = jax.grad(loss)(params, batch)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, hvd.allreduce_tree(grads))

`allreduce`, `allgather`, `broadcast`, `alltoall` and `reducescatter` work under jit, grad and the
loops of jax.lax. Under jit they run in the order of the program, and results have the shape
that tracing told, so all ranks' arrays must have equal shapes there; outside of jit the first
dimension may differ where it may in Horovod. vmap knows allreduce and broadcast.
"""

from horovod.common.exceptions import HorovodInternalError
from horovod.common.process_sets import (
    ProcessSet,
    add_process_set,
    global_process_set,
    remove_process_set,
)
from horovod.jax.operations import (
    allgather,
    allreduce,
    allreduce_tree,
    alltoall,
    broadcast,
    broadcast_tree,
    init,
    reducescatter,
)
from horovod.numpy.operations import (
    Adasum,
    Average,
    Max,
    Min,
    Product,
    Sum,
    allgather_object,
    barrier,
    broadcast_object,
    cross_rank,
    cross_size,
    gloo_enabled,
    is_initialized,
    join,
    local_rank,
    local_size,
    mpi_enabled,
    rank,
    shutdown,
    size,
)

__all__ = [
    "Adasum",
    "Average",
    "HorovodInternalError",
    "Max",
    "Min",
    "ProcessSet",
    "Product",
    "Sum",
    "add_process_set",
    "allgather",
    "allgather_object",
    "allreduce",
    "allreduce_tree",
    "alltoall",
    "barrier",
    "broadcast",
    "broadcast_object",
    "broadcast_tree",
    "cross_rank",
    "cross_size",
    "global_process_set",
    "gloo_enabled",
    "init",
    "is_initialized",
    "join",
    "local_rank",
    "local_size",
    "mpi_enabled",
    "rank",
    "reducescatter",
    "remove_process_set",
    "shutdown",
    "size",
]
