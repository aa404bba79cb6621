"""Horovod's operations on TensorFlow's tensors, with their gradients.

After horovod/tensorflow/mpi_ops.py of Horovod 0.28.1, copyright 2016 The TensorFlow Authors, 2019
Uber Technologies, Inc., Microsoft and NVIDIA, Apache License 2.0. Here the operations are bound
to no release of TensorFlow.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from horovod.common.basics import HorovodBasics as _HorovodBasics
from horovod.common.process_sets import (
    ProcessSet,
    _temp_process_set_object,
    add_process_set,
    global_process_set,
    remove_process_set,
)
from horovod.common.process_sets import _setup as _setup_process_sets
from horovod.common.util import get_average_backwards_compatibility_fun
from horovod.common.util import num_rank_is_power_2 as check_num_rank_power_of_2
from horovod.tensorflow.operations import OPERATIONS as MPI_LIB
from horovod.tensorflow.util import _executing_eagerly, native_variable

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.python.framework import ops

__all__ = ["ProcessSet", "add_process_set", "check_num_rank_power_of_2", "remove_process_set"]

_basics = _HorovodBasics(__file__, "mpi_lib")

shutdown = _basics.shutdown
is_initialized = _basics.is_initialized
start_timeline = _basics.start_timeline
stop_timeline = _basics.stop_timeline
size = _basics.size
local_size = _basics.local_size
cross_size = _basics.cross_size
rank = _basics.rank
local_rank = _basics.local_rank
cross_rank = _basics.cross_rank
is_homogeneous = _basics.is_homogeneous
mpi_threads_supported = _basics.mpi_threads_supported
mpi_enabled = _basics.mpi_enabled
mpi_built = _basics.mpi_built
gloo_enabled = _basics.gloo_enabled
gloo_built = _basics.gloo_built
nccl_built = _basics.nccl_built
ddl_built = _basics.ddl_built
ccl_built = _basics.ccl_built
cuda_built = _basics.cuda_built
rocm_built = _basics.rocm_built

Average = _basics.Average
Sum = _basics.Sum
Adasum = _basics.Adasum
AdaSum = Adasum  # so it is called in upstream's user guide
Min = _basics.Min
Max = _basics.Max
Product = _basics.Product

handle_average_backwards_compatibility = get_average_backwards_compatibility_fun(_basics)

_setup_process_sets(_basics)

_numbers = itertools.count()


def init(*args: Any, **kwargs: Any) -> None:
    """Start Horovod; see `HorovodBasics.init`."""
    _basics.init(*args, **kwargs)
    _setup_process_sets(_basics)  # another framework's module may have set its own


def _check_has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


def _normalize_name(name: str) -> str:
    """A name as TensorFlow allows it for an operation."""
    return re.sub("[^a-zA-Z0-9_]", "_", name)


def _tensor(value: Any) -> Any:
    """What TensorFlow's operations take: of a Keras 3 variable its value."""
    value = native_variable(value)
    return value if tf.is_tensor(value) else tf.convert_to_tensor(value)


def _naming(name: str | None, kind: str, *tensors: Any) -> dict[str, str | None]:
    """The name that ranks find each other by, and one that no other operation of the graph has.

    In eager execution operations run one after the other, and need neither.
    """
    if _executing_eagerly():
        return {"name": name, "tensor_name": ""}
    if name is None:
        ends = (tensors[0], tensors[-1]) if kind.startswith("Grouped") else tensors[:1]
        name = _normalize_name("_".join([f"Horovod{kind}", *(t.name for t in ends)]))
    return {"name": _normalize_name(name), "tensor_name": f"{name}#{next(_numbers)}"}


def _run(operation: Any, *tensors: Any, **attributes: Any) -> Any:
    """An operation that runs whenever its graph does, also where all its inputs are constants.

    TensorFlow computes stateless operations on constants once and for all, but for those that
    bear this attribute, which without a value has no other effect.
    """
    results = operation(*tensors, **attributes)
    if not _executing_eagerly():
        node = (results[0] if isinstance(results, (list, tuple)) else results).op
        if node.type.startswith("Horovod"):
            nothing = attr_value_pb2.AttrValue(list=attr_value_pb2.AttrValue.ListValue())
            node._set_attr("_scoped_allocator", nothing)
    return results


def _allreduce(
    tensor: Any,
    name: str | None = None,
    op: int = Sum,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    ignore_name_scope: bool = False,
    process_set: ProcessSet = global_process_set,
) -> Any:
    """Reduces a tensor over all processes; see `horovod.tensorflow.allreduce`.

    Operations are matched by name; the tensor's type and shape must be the same on all processes.
    """
    tensor = _tensor(tensor)
    return _run(
        MPI_LIB.horovod_allreduce,
        tensor,
        reduce_op=op,
        prescale_factor=prescale_factor,
        postscale_factor=postscale_factor,
        ignore_name_scope=ignore_name_scope,
        process_set_id=process_set.process_set_id,
        **_naming(name, "Allreduce", tensor),
    )


@ops.RegisterGradient("HorovodAllreduce")
def _allreduce_grad(op: Any, grad: Any) -> Any:
    return _allreduce(
        grad,
        op=op.get_attr("reduce_op"),
        prescale_factor=op.get_attr("prescale_factor"),
        postscale_factor=op.get_attr("postscale_factor"),
        **_same_set(op),
    )


def _same_set(op: Any) -> dict[str, Any]:
    """The arguments that a gradient shares with its operation."""
    return {
        "ignore_name_scope": op.get_attr("ignore_name_scope"),
        "process_set": _temp_process_set_object(op.get_attr("process_set_id")),
    }


def _grouped_allreduce(
    tensors: Any,
    name: str | None = None,
    op: int = Sum,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    ignore_name_scope: bool = False,
    process_set: ProcessSet = global_process_set,
) -> list[Any]:
    """Reduces tensors of one type together; see `horovod.tensorflow.grouped_allreduce`."""
    tensors = [_tensor(t) for t in tensors]
    return _run(
        MPI_LIB.horovod_grouped_allreduce,
        tensors,
        reduce_op=op,
        prescale_factor=prescale_factor,
        postscale_factor=postscale_factor,
        ignore_name_scope=ignore_name_scope,
        process_set_id=process_set.process_set_id,
        **_naming(name, "GroupedAllreduce", *tensors),
    )


@ops.RegisterGradient("HorovodGroupedAllreduce")
def _grouped_allreduce_grad(op: Any, *grads: Any) -> list[Any]:
    return _grouped_allreduce(
        list(grads),
        op=op.get_attr("reduce_op"),
        prescale_factor=op.get_attr("prescale_factor"),
        postscale_factor=op.get_attr("postscale_factor"),
        **_same_set(op),
    )


def allgather(
    tensor: Any,
    name: str | None = None,
    ignore_name_scope: bool = False,
    process_set: ProcessSet = global_process_set,
) -> Any:
    """Concatenates the tensors of all processes along the first dimension, in rank order.

    Args:
        tensor: [N, ...]; N may differ between processes, the rest not.
        name: what processes match the operation by.
        ignore_name_scope: leave TensorFlow's name scope out of the name.
        process_set: the processes that take part.

    Returns:
        A tensor [sum of all N, ...] of the same type.
    """
    tensor = _tensor(tensor)
    return _run(
        MPI_LIB.horovod_allgather,
        tensor,
        ignore_name_scope=ignore_name_scope,
        process_set_id=process_set.process_set_id,
        **_naming(name, "Allgather", tensor),
    )


@ops.RegisterGradient("HorovodAllgather")
def _allgather_grad(op: Any, grad: Any) -> Any:
    return _own_rows(op.inputs[0], grad, _same_set(op))


def _own_rows(gathered_input: Any, grad: Any, same_set: dict[str, Any]) -> Any:
    """The part of the averaged gradient that belongs to this process's rows."""
    process_set = same_set["process_set"]
    grad = _allreduce(grad, op=Average, **same_set)
    with tf.device("/cpu:0"):
        rows = allgather(tf.reshape(tf.shape(gathered_input)[0], [1]), **same_set)
        rows = tf.reshape(rows, [process_set.size()])
    return tf.split(grad, num_or_size_splits=rows, axis=0)[process_set.rank()]


def grouped_allgather(
    tensors: Any,
    name: str | None = None,
    ignore_name_scope: bool = False,
    process_set: ProcessSet = global_process_set,
) -> list[Any]:
    """`allgather` of several tensors of one type together."""
    tensors = [_tensor(t) for t in tensors]
    return _run(
        MPI_LIB.horovod_grouped_allgather,
        tensors,
        ignore_name_scope=ignore_name_scope,
        process_set_id=process_set.process_set_id,
        **_naming(name, "GroupedAllgather", *tensors),
    )


@ops.RegisterGradient("HorovodGroupedAllgather")
def _grouped_allgather_grad(op: Any, *grads: Any) -> list[Any]:
    # One by one: where a gradient is zero TensorFlow may give another type than that of the group.
    return [_own_rows(x, g, _same_set(op)) for x, g in zip(op.inputs, grads, strict=True)]


def broadcast(
    tensor: Any,
    root_rank: int,
    name: str | None = None,
    ignore_name_scope: bool = False,
    process_set: ProcessSet = global_process_set,
) -> Any:
    """The root's tensor on every process; type and shape must be the same on all.

    Args:
        tensor: on the root what is sent; elsewhere only its type and shape count.
        root_rank: the sender's rank among all processes.
        name: what processes match the operation by.
        ignore_name_scope: leave TensorFlow's name scope out of the name.
        process_set: the processes that take part.
    """
    tensor = _tensor(tensor)
    return _run(
        MPI_LIB.horovod_broadcast,
        tensor,
        root_rank=root_rank,
        ignore_name_scope=ignore_name_scope,
        process_set_id=process_set.process_set_id,
        **_naming(name, "Broadcast", tensor),
    )


@ops.RegisterGradient("HorovodBroadcast")
def _broadcast_grad(op: Any, grad: Any) -> Any:
    reduced = _allreduce(grad, op=Average, **_same_set(op))
    return reduced if rank() == op.get_attr("root_rank") else reduced * 0


def broadcast_(
    variables: Any,
    root_rank: int,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> list[Any]:
    """Gives variables the root's values, in place.

    Args:
        variables: `tf.Variable` or Keras variables; in the same order on all processes.
        root_rank: the sender's rank among all processes.
        name: what processes match the operations by, with the variables' places.
        process_set: the processes that take part.

    Returns:
        The variables' new values.
    """
    variables = [native_variable(v) for v in variables]
    kinds = {_is_resource(v) for v in variables}
    if len(kinds) > 1:
        raise ValueError(
            "All variables passed to broadcast_() should be of the same kind, resource or reference"
        )
    values = []
    for i, variable in enumerate(variables):
        each = f"{name or 'HorovodBroadcastInplace'}_{i}_{_normalize_name(variable.name)}"
        value = broadcast(variable, root_rank, name=each, process_set=process_set)
        values.append(_assigned(variable, value))
    return values


def _assigned(variable: Any, value: Any) -> Any:
    if not _is_resource(variable):
        return tf.compat.v1.assign(variable, value)
    with tf.control_dependencies([variable.assign(value, read_value=False)]):
        return variable.read_value()


def _is_resource(variable: Any) -> bool:
    from tensorflow.python.ops import resource_variable_ops

    return bool(resource_variable_ops.is_resource_variable(variable))


def alltoall(
    tensor: Any,
    splits: Any = None,
    name: str | None = None,
    ignore_name_scope: bool = False,
    process_set: ProcessSet = global_process_set,
) -> Any:
    """Sends slices along the first dimension to all processes, and receives theirs.

    Args:
        tensor: [N, ...].
        splits: int32 [size], rows for each process in rank order; None: N in equal parts.
        name: what processes match the operation by.
        ignore_name_scope: leave TensorFlow's name scope out of the name.
        process_set: the processes that take part.

    Returns:
        The received slices, concatenated in rank order; with `splits` also the rows received from
        each process.
    """
    tensor = _tensor(tensor)
    rows = tf.constant([], tf.int32) if splits is None else tf.convert_to_tensor(splits, tf.int32)
    output, received = _run(
        MPI_LIB.horovod_alltoall,
        tensor,
        splits=rows,
        ignore_name_scope=ignore_name_scope,
        process_set_id=process_set.process_set_id,
        **_naming(name, "Alltoall", tensor),
    )
    return output if splits is None else (output, received)


@ops.RegisterGradient("HorovodAlltoall")
def _alltoall_grad(op: Any, grad: Any, _grad_of_received: Any) -> list[Any]:
    back, _ = alltoall(grad, splits=op.outputs[1], **_same_set(op))
    return [back, None]


def _reducescatter(
    tensor: Any,
    name: str | None = None,
    op: int = Sum,
    ignore_name_scope: bool = False,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> Any:
    """Reduces, and leaves a part of the rows to each; see `horovod.tensorflow.reducescatter`."""
    tensor = _tensor(tensor)
    return _run(
        MPI_LIB.horovod_reducescatter,
        tensor,
        reduce_op=op,
        prescale_factor=prescale_factor,
        postscale_factor=postscale_factor,
        ignore_name_scope=ignore_name_scope,
        process_set_id=process_set.process_set_id,
        **_naming(name, "Reducescatter", tensor),
    )


@ops.RegisterGradient("HorovodReducescatter")
def _reducescatter_grad(op: Any, grad: Any) -> Any:
    return allgather(grad * _scale_of(op), **_same_set(op))


def _scale_of(op: Any) -> float:
    same_set = _same_set(op)
    summed = same_set["process_set"].size() if op.get_attr("reduce_op") == Sum else 1
    return float(summed * op.get_attr("prescale_factor") * op.get_attr("postscale_factor"))


def _grouped_reducescatter(
    tensors: Any,
    name: str | None = None,
    op: int = Sum,
    ignore_name_scope: bool = False,
    process_set: ProcessSet = global_process_set,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> list[Any]:
    """`_reducescatter` of several tensors of one type together."""
    tensors = [_tensor(t) for t in tensors]
    return _run(
        MPI_LIB.horovod_grouped_reducescatter,
        tensors,
        reduce_op=op,
        prescale_factor=prescale_factor,
        postscale_factor=postscale_factor,
        ignore_name_scope=ignore_name_scope,
        process_set_id=process_set.process_set_id,
        **_naming(name, "GroupedReducescatter", *tensors),
    )


@ops.RegisterGradient("HorovodGroupedReducescatter")
def _grouped_reducescatter_grad(op: Any, *grads: Any) -> list[Any]:
    # One by one, for the reason given at _grouped_allgather_grad.
    return [allgather(g * _scale_of(op), **_same_set(op)) for g in grads]


def join() -> Any:
    """Says that this process has no more data; done when all have said so.

    Until then it takes part in the others' allreduces with zeros.

    Returns:
        An int32 scalar: the rank that joined last.
    """
    return MPI_LIB.horovod_join()


def barrier(process_set: ProcessSet = global_process_set) -> Any:
    """Waits until all processes have called it. In a graph: the operation to run."""
    return MPI_LIB.horovod_barrier(process_set_id=process_set.process_set_id)


def size_op(process_set_id: int = 0, name: str | None = None) -> Any:
    """An int32 scalar: the number of processes at the time when the graph runs."""
    return MPI_LIB.horovod_size(process_set_id=process_set_id, name=name)


def process_set_included_op(process_set_id: int = 0, name: str | None = None) -> Any:
    """An int32 scalar: 1 or 0, whether this process belongs to the set, when the graph runs.

    Or an error code: HOROVOD_PROCESS_SET_ERROR_INIT, HOROVOD_PROCESS_SET_ERROR_UNKNOWN_SET.
    """
    return MPI_LIB.horovod_process_set_included(process_set_id=process_set_id, name=name)


def local_size_op(name: str | None = None) -> Any:
    """An int32 scalar: the number of processes on this host when the graph runs."""
    return MPI_LIB.horovod_local_size(name=name)


def rank_op(name: str | None = None) -> Any:
    """An int32 scalar: this process's rank when the graph runs."""
    return MPI_LIB.horovod_rank(name=name)


def local_rank_op(name: str | None = None) -> Any:
    """An int32 scalar: this process's rank on its host when the graph runs."""
    return MPI_LIB.horovod_local_rank(name=name)


for _kind in ("Size", "ProcessSetIncluded", "LocalSize", "Rank", "LocalRank", "Join", "SelfTest"):
    ops.NotDifferentiable(f"Horovod{_kind}")
