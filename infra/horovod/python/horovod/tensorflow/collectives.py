"""Reductions as users call them: dense or sparse, compressed, grouped, over a process set.

After horovod/tensorflow/__init__.py of Horovod 0.28.1, copyright 2016 The TensorFlow Authors, 2019
Uber Technologies, Inc. and Microsoft, Apache License 2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from horovod.tensorflow.compression import Compression
from horovod.tensorflow.mpi_ops import (
    Adasum,
    Average,
    ProcessSet,
    Sum,
    _allreduce,
    _grouped_allreduce,
    _grouped_reducescatter,
    _reducescatter,
    allgather,
    check_num_rank_power_of_2,
    global_process_set,
    grouped_allgather,
    handle_average_backwards_compatibility,
    mpi_enabled,
    process_set_included_op,
    size,
    size_op,
)
from horovod.tensorflow.util import native_variable, runs_elastic

import tensorflow as tf

__all__ = ["allreduce", "grouped_allreduce", "grouped_reducescatter", "reducescatter"]


def number_of_processes(process_set: ProcessSet) -> Any:
    """The set's size: a number, or in elastic training an int32 tensor."""
    if runs_elastic():
        return size_op(process_set_id=process_set.process_set_id)
    return process_set.size()


@tf.autograph.experimental.do_not_convert
def allreduce(
    tensor: Any,
    average: bool | None = None,
    device_dense: str = "",
    device_sparse: str = "",
    compression: Any = Compression.none,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
    ignore_name_scope: bool = False,
) -> Any:
    """Reduce a tensor over all processes.

    Args:
        tensor: `tf.Tensor`, a variable, or `tf.IndexedSlices`, whose rows are gathered: that
            is the reduction of the tensor they stand for. Its shape must be the same on all
            processes, but for the number of rows of slices.
        average: deprecated, use `op`.
        device_dense: device for tensors.
        device_sparse: device for slices.
        compression: how to make what is sent smaller, see `Compression`.
        op: Average (also if None), Sum, Min, Max, Product or Adasum.
        prescale_factor: multiplies before the reduction.
        postscale_factor: multiplies after the reduction.
        name: what processes match the operation by.
        process_set: the processes that take part.
        ignore_name_scope: leave TensorFlow's name scope out of the name.

    Returns:
        What `tensor` was, reduced: of the same shape and type.
    """
    op = handle_average_backwards_compatibility(op, average)
    if isinstance(tensor, tf.IndexedSlices):
        _check_sparse(op, prescale_factor, postscale_factor)
        return _gather_slices([tensor], op, device_sparse, process_set, ignore_name_scope)[0]
    _check_adasum(op, process_set)
    _check_known(process_set)
    with tf.device(device_dense):
        small, context = compression.compress(native_variable(tensor))
        reduced = _allreduce(
            small,
            op=op,
            prescale_factor=prescale_factor,
            postscale_factor=postscale_factor,
            name=name,
            process_set=process_set,
            ignore_name_scope=ignore_name_scope,
        )
        return compression.decompress(reduced, context)


@tf.autograph.experimental.do_not_convert
def grouped_allreduce(
    tensors: Sequence[Any],
    average: bool | None = None,
    device_dense: str = "",
    device_sparse: str = "",
    compression: Any = Compression.none,
    op: int | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: ProcessSet = global_process_set,
    ignore_name_scope: bool = False,
    name: str | None = None,
) -> Any:
    """Reduce several tensors together: all are done at the same time.

    Args:
        tensors: as in `allreduce`; those that are not slices of one type.

    The other arguments are those of `allreduce`.

    Returns:
        A list of the same length.
    """
    if not tensors:
        return tensors
    op = handle_average_backwards_compatibility(op, average)
    results = list(tensors)
    sparse = [i for i, t in enumerate(tensors) if isinstance(t, tf.IndexedSlices)]
    dense = [i for i, t in enumerate(tensors) if not isinstance(t, tf.IndexedSlices)]
    if sparse:
        _check_sparse(op, prescale_factor, postscale_factor)
        slices = [tensors[i] for i in sparse]
        gathered = _gather_slices(slices, op, device_sparse, process_set, ignore_name_scope)
        _put(results, sparse, gathered)
    if dense:
        _check_adasum(op, process_set)
        _check_known(process_set)
        with tf.device(device_dense):
            small, contexts = _compressed(compression, [tensors[i] for i in dense])
            reduced = _grouped_allreduce(
                small,
                op=op,
                prescale_factor=prescale_factor,
                postscale_factor=postscale_factor,
                process_set=process_set,
                name=name,
                ignore_name_scope=ignore_name_scope,
            )
            _put(results, dense, _decompressed(compression, reduced, contexts))
    return results


@tf.autograph.experimental.do_not_convert
def reducescatter(
    tensor: Any,
    device_dense: str = "",
    compression: Any = Compression.none,
    op: int = Average,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
    ignore_name_scope: bool = False,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> Any:
    """Reduce a tensor and leave to each process its part of the rows.

    Args:
        tensor: [N, ...], of the same shape on all processes.
        op: Average or Sum.

    The other arguments are those of `allreduce`.

    Returns:
        [about N / size, ...]: the first processes get one row more where N is no multiple of it.
    """
    with tf.device(device_dense):
        small, context = compression.compress(native_variable(tensor))
        reduced = _reducescatter(
            small,
            op=op,
            name=name,
            process_set=process_set,
            ignore_name_scope=ignore_name_scope,
            prescale_factor=prescale_factor,
            postscale_factor=postscale_factor,
        )
        return compression.decompress(reduced, context)


@tf.autograph.experimental.do_not_convert
def grouped_reducescatter(
    tensors: Sequence[Any],
    device_dense: str = "",
    compression: Any = Compression.none,
    op: int = Average,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> Any:
    """`reducescatter` of several tensors of one type together."""
    if not tensors:
        return tensors
    with tf.device(device_dense):
        small, contexts = _compressed(compression, tensors)
        reduced = _grouped_reducescatter(
            small,
            op=op,
            process_set=process_set,
            prescale_factor=prescale_factor,
            postscale_factor=postscale_factor,
        )
        return _decompressed(compression, reduced, contexts)


def _allreduce_cond(
    tensor: Any, *args: Any, process_set: ProcessSet = global_process_set, **kwargs: Any
) -> Any:
    """`allreduce`, or `tensor` itself where this process is alone or not in the set."""
    return _where_needed(
        lambda: allreduce(tensor, *args, process_set=process_set, **kwargs),
        lambda: tensor,
        process_set,
    )


def _grouped_allreduce_cond(
    tensors: Any, *args: Any, process_set: ProcessSet = global_process_set, **kwargs: Any
) -> Any:
    return _where_needed(
        lambda: grouped_allreduce(tensors, *args, process_set=process_set, **kwargs),
        lambda: tensors,
        process_set,
    )


@tf.autograph.experimental.do_not_convert
def _where_needed(reduce: Any, leave: Any, process_set: ProcessSet) -> Any:
    if not runs_elastic():
        return reduce() if process_set.included() and process_set.size() > 1 else leave()
    number = process_set.process_set_id
    with tf.device("cpu"):
        needed = tf.logical_and(
            tf.equal(process_set_included_op(number), 1), tf.greater(size_op(number), 1)
        )
    return tf.cond(needed, reduce, leave)


def _gather_slices(
    slices: list[Any], op: int, device: str, process_set: ProcessSet, ignore_name_scope: bool
) -> list[Any]:
    options = {"process_set": process_set, "ignore_name_scope": ignore_name_scope}
    with tf.device(device):
        if len(slices) == 1:
            values = [allgather(slices[0].values, **options)]
            indices = [allgather(slices[0].indices, **options)]
        else:
            values = grouped_allgather([s.values for s in slices], **options)
            indices = grouped_allgather([s.indices for s in slices], **options)
        if op == Average:
            count = number_of_processes(process_set)
            values = [v / tf.cast(count, v.dtype) for v in values]
    return [
        tf.IndexedSlices(v, i, dense_shape=s.dense_shape)
        for v, i, s in zip(values, indices, slices, strict=True)
    ]


def _check_sparse(op: int, prescale_factor: float, postscale_factor: float) -> None:
    if op == Adasum:
        raise NotImplementedError(
            "The Adasum reduction does not currently support sparse tensors. As a workaround "
            "please pass sparse_as_dense=True to DistributedOptimizer"
        )
    if op not in (Sum, Average):
        raise NotImplementedError("Only Sum and Average ops are supported with tf.IndexedSlices")
    if prescale_factor != 1.0 or postscale_factor != 1.0:
        raise NotImplementedError("Pre/postscale_factor are not supported with tf.IndexedSlices")


def _check_adasum(op: int, process_set: ProcessSet) -> None:
    if op != Adasum:
        return
    if not mpi_enabled():
        raise NotImplementedError(
            "Adasum needs MPI: start the job by mpirun or horovodrun --mpi, or use op=Average"
        )
    if process_set != global_process_set:
        raise NotImplementedError("Adasum does not support non-global process sets yet.")
    if not check_num_rank_power_of_2(size()):
        raise NotImplementedError("Running Adasum with non-power of 2 ranks is not supported yet.")


def _check_known(process_set: ProcessSet) -> None:
    """Raise ValueError for a set that is not registered (in elastic training it may yet be)."""
    if not runs_elastic():
        process_set.size()


def _compressed(compression: Any, tensors: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    pairs = [compression.compress(native_variable(t)) for t in tensors]
    return [tensor for tensor, _ in pairs], [context for _, context in pairs]


def _decompressed(compression: Any, tensors: Sequence[Any], contexts: list[Any]) -> list[Any]:
    return [compression.decompress(t, c) for t, c in zip(tensors, contexts, strict=True)]


def _put(results: list[Any], places: list[int], values: Sequence[Any]) -> None:
    for place, value in zip(places, values, strict=True):
        results[place] = value
