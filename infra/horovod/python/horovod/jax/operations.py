"""Horovod's operations on JAX arrays, with their gradients.

Common to all of them:

    x: an array, of a type in `horovod.common.collectives.DTYPES`, on the CPU.
    name: identifies the operation across ranks. Without one operations are counted as they run, and
        all ranks must run the same program.
    process_set: the ranks that take part; all of them must call the function.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from horovod.common.process_sets import global_process_set
from horovod.jax import primitive
from horovod.numpy import operations as eager
from horovod.numpy.operations import Average, Max, Min, Product, Sum, rank

import jax
import jax.numpy as jnp


def init(comm=None, process_sets=None):
    """Starts Horovod; see `horovod.common.basics.HorovodBasics.init`."""
    if not eager.is_initialized():
        primitive.reset_names()
    eager.init(comm, process_sets)


def _traced(x: Any) -> bool:
    return isinstance(x, jax.core.Tracer)


def _bind(x, kind: int, process_set, *, rows=None, name=None, op=0, scaling=(1.0, 1.0), root=0):
    return primitive.horovod_p.bind(
        x,
        rows=rows,
        kind=kind,
        name=name or "",
        op=op,
        prescale=float(scaling[0]),
        postscale=float(scaling[1]),
        root_rank=root,
        process_set=eager._id(process_set),
    )


def _check_rows(x, what: str, multiple: int = 1) -> None:
    if x.ndim == 0:
        raise ValueError(f"{what} needs an array of at least one dimension")
    if x.shape[0] % multiple:
        raise ValueError(
            f"{what} under jit needs a first dimension that is a multiple of the {multiple} ranks,"
            f" not {x.shape[0]}"
        )


# ---- Allreduce


def allreduce(
    x,
    name=None,
    op=Average,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
):
    """Reduces an array of equal shape and type over the ranks; all ranks get the result.

    Args:
        x: the array. Its gradient is reduced the same way, for Sum and Average.
        op: Average, Sum, Adasum, Min, Max or Product.
        prescale_factor: multiplies the array before the reduction.
        postscale_factor: multiplies the result.
    """
    scaling = (prescale_factor, postscale_factor)
    if not _traced(x):
        return jnp.asarray(eager.allreduce(x, name, op, *scaling, process_set))
    return _allreduce(x, name, op, scaling, process_set)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _allreduce(x, name, op, scaling, process_set):
    return _bind(x, primitive.ALLREDUCE, process_set, name=name, op=op, scaling=scaling)


def _allreduce_forward(x, name, op, scaling, process_set):
    return _allreduce(x, name, op, scaling, process_set), None


def _allreduce_backward(name, op, scaling, process_set, _residual, gradient):
    if op in (Min, Max, Product):
        raise NotImplementedError(
            "an allreduce by Min, Max or Product has no gradient here: use jax.lax.stop_gradient"
        )
    of_name = f"{name}.gradient" if name else None
    return (_allreduce(gradient, of_name, op, scaling, process_set),)


_allreduce.defvjp(_allreduce_forward, _allreduce_backward)


def allreduce_tree(
    tree,
    name=None,
    op=Average,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
):
    """`allreduce` of all arrays of a tree, gradients for instance, in few large pieces.

    Arrays of one type are joined to one array for it, so the tree must be the same on all ranks.
    """
    leaves, structure = jax.tree.flatten(tree)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    results: list[Any] = [None] * len(leaves)
    for dtype in sorted({leaf.dtype for leaf in leaves}, key=str):
        places = [i for i, leaf in enumerate(leaves) if leaf.dtype == dtype]
        joined = jnp.concatenate([leaves[i].reshape(-1) for i in places])
        of_type = f"{name}.{dtype}" if name else None
        reduced = allreduce(joined, of_type, op, prescale_factor, postscale_factor, process_set)
        ends = np.cumsum([leaves[i].size for i in places])[:-1].tolist()
        for i, part in zip(places, jnp.split(reduced, ends), strict=True):
            results[i] = part.reshape(leaves[i].shape)
    return jax.tree.unflatten(structure, results)


# ---- Allgather


def allgather(x, name=None, process_set=global_process_set):
    """Concatenates the ranks' arrays along the first dimension, in the order of ranks.

    Outside of jit the first dimension may differ between ranks. The gradient is the average over
    ranks of the gradients of this rank's rows.
    """
    if not _traced(x):
        return jnp.asarray(eager.allgather(x, name, process_set))
    _check_rows(x, "allgather")
    return _allgather(x, name, process_set)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _allgather(x, name, process_set):
    rows = x.shape[0] * process_set.size()
    return _bind(x, primitive.ALLGATHER, process_set, rows=rows, name=name)


def _allgather_forward(x, name, process_set):
    return _allgather(x, name, process_set), None


def _allgather_backward(name, process_set, _residual, gradient):
    of_name = f"{name}.gradient" if name else None
    averaged = _allreduce(gradient, of_name, Average, (1.0, 1.0), process_set)
    rows = gradient.shape[0] // process_set.size()
    return (jax.lax.dynamic_slice_in_dim(averaged, process_set.rank() * rows, rows),)


_allgather.defvjp(_allgather_forward, _allgather_backward)


# ---- Broadcast


def broadcast(x, root_rank, name=None, process_set=global_process_set):
    """The array of `root_rank`, which counts in the global process set; equal shapes on all ranks.

    The gradient is the average of the ranks' gradients on the root, and zero elsewhere.
    """
    if not _traced(x):
        return jnp.asarray(eager.broadcast(x, root_rank, name, process_set))
    return _broadcast(x, root_rank, name, process_set)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _broadcast(x, root_rank, name, process_set):
    return _bind(x, primitive.BROADCAST, process_set, name=name, root=root_rank)


def _broadcast_forward(x, root_rank, name, process_set):
    return _broadcast(x, root_rank, name, process_set), None


def _broadcast_backward(root_rank, name, process_set, _residual, gradient):
    of_name = f"{name}.gradient" if name else None
    averaged = _allreduce(gradient, of_name, Average, (1.0, 1.0), process_set)
    return (averaged if rank() == root_rank else jnp.zeros_like(averaged),)


_broadcast.defvjp(_broadcast_forward, _broadcast_backward)


def broadcast_tree(tree, root_rank, name=None, process_set=global_process_set):
    """`broadcast` of all arrays of a tree, parameters for instance."""
    leaves, structure = jax.tree.flatten(tree)
    names = [f"{name}.{i}" if name else None for i in range(len(leaves))]
    received = [
        broadcast(jnp.asarray(leaf), root_rank, of_leaf, process_set)
        for leaf, of_leaf in zip(leaves, names, strict=True)
    ]
    return jax.tree.unflatten(structure, received)


# ---- Alltoall and reducescatter


def alltoall(x, splits=None, name=None, process_set=global_process_set):
    """Sends rows of the array to each rank and returns those received, in the order of ranks.

    `splits` says how many rows go to each rank, and is for calls outside of jit; equal numbers
    without it. It has no gradient.
    """
    if not _traced(x):
        return jnp.asarray(eager.alltoall(x, splits, name, process_set)[0])
    if splits is not None:
        raise ValueError("alltoall under jit sends equal parts: leave splits out")
    _check_rows(x, "alltoall", process_set.size())
    x = jax.lax.stop_gradient(x)
    return _bind(x, primitive.ALLTOALL, process_set, rows=x.shape[0], name=name)


def reducescatter(x, name=None, op=Average, process_set=global_process_set):
    """Reduces an array over the ranks and leaves to each rank its rows of the result.

    `op` is Average or Sum. It has no gradient.
    """
    if op not in (Average, Sum):
        raise NotImplementedError("reducescatter knows Average and Sum alone")
    if not _traced(x):
        return jnp.asarray(eager.reducescatter(x, name, op, process_set=process_set))
    _check_rows(x, "reducescatter", process_set.size())
    x = jax.lax.stop_gradient(x)
    rows = x.shape[0] // process_set.size()
    return _bind(x, primitive.REDUCESCATTER, process_set, rows=rows, name=name, op=op)
