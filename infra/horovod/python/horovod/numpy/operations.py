"""Horovod's operations on NumPy arrays.

Common to all of them:

    array(s): anything that `numpy.asarray` takes, of a type in `horovod.common.collectives.DTYPES`
        (bfloat16 is ml_dtypes'), in any layout. Results are new arrays in C order. Grouped
        functions take a list of arrays, which are done together.
    name: identifies the operation across ranks. Without one the operations of a kind are counted,
        and all ranks must call them in the same order.
    process_set: the ranks that take part; all of them must call the function.

A function whose name ends in `async` returns a handle for `poll` and `synchronize`; until then its
arrays must not be changed. `ValueError` is raised for arguments that cannot be,
`HorovodInternalError`, a RuntimeError, when ranks disagree on an operation or communication fails.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from horovod.common import collectives, objects
from horovod.common.basics import HorovodBasics
from horovod.common.exceptions import HorovodInternalError
from horovod.common.process_sets import ProcessSet, _setup, global_process_set

import numpy as np

_basics = HorovodBasics()

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
shutdown = _basics.shutdown

Average = _basics.Average
Sum = _basics.Sum
Adasum = _basics.Adasum
Min = _basics.Min
Max = _basics.Max
Product = _basics.Product

_setup(_basics)

_Collect = Callable[[int], list[np.ndarray]]

# What an operation under way needs: arrays that must not be freed, and what makes its output.
_under_way: dict[int, tuple[Any, Callable[[int], Any]]] = {}


def init(comm=None, process_sets=None):
    """Starts Horovod; see `horovod.common.basics.HorovodBasics.init`."""
    if not _basics.is_initialized():
        for handle in _under_way:
            collectives.release(handle)
        _under_way.clear()
    _basics.init(comm, process_sets)


# ---- Handles


def poll(handle: int) -> bool:
    """Whether the operation is done, so that `synchronize` will not wait."""
    return collectives.poll(handle)


def synchronize(handle: int):
    """Waits until the operation is done and returns its output.

    Raises `HorovodInternalError` if it failed, and ValueError if the handle was waited for already.
    """
    if handle not in _under_way:
        raise ValueError(f"handle {handle} belongs to no operation, or to one that was waited for")
    try:
        collectives.wait(handle)
    except (HorovodInternalError, ValueError):
        _under_way.pop(handle, None)
        raise
    _, collect = _under_way.pop(handle)
    try:
        return collect(handle)
    finally:
        collectives.release(handle)


def _kept(handle: int, arrays: Any, collect: Callable[[int], Any]) -> int:
    _under_way[handle] = (arrays, collect)
    return handle


def _dense(array: Any) -> np.ndarray:
    """The array in C order and the machine's byte order; ValueError if Horovod cannot take it."""
    array = np.asarray(array)
    if array.dtype.name not in collectives.DTYPES:
        raise ValueError(
            f"arrays of type {array.dtype} are not supported; Horovod communicates "
            + ", ".join(collectives.DTYPES)
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array if array.flags.c_contiguous else array.copy(order="C")


def _buffer(source: np.ndarray, target: np.ndarray | None = None) -> collectives.Buffer:
    dtype = collectives.DTYPES[source.dtype.name]
    return _address(source), 0 if target is None else _address(target), source.shape, dtype


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _sources(arrays: Sequence[Any]) -> list[np.ndarray]:
    sources = [_dense(array) for array in arrays]
    if not sources:
        raise ValueError("a grouped operation needs at least one array")
    return sources


def _id(process_set: ProcessSet) -> int:
    if process_set.process_set_id is None:
        raise ValueError(
            f"{process_set} is not registered: give it to hvd.init(process_sets=...) or to"
            " hvd.add_process_set, and do not use it after its removal or a restart of Horovod"
        )
    return process_set.process_set_id


def _with_outputs(enqueue, arrays: Sequence[Any], name: str | None, *arguments) -> int:
    """Starts an operation whose outputs have the shapes of its inputs."""
    sources = _sources(arrays)
    targets = [np.empty_like(source, order="C", subok=False) for source in sources]
    buffers = [_buffer(source, target) for source, target in zip(sources, targets, strict=True)]
    return _kept(enqueue(buffers, name, *arguments), sources, lambda _handle: targets)


def _with_new_outputs(enqueue, arrays: Sequence[Any], *arguments) -> int:
    """Starts an operation whose outputs the core allocates."""
    sources = _sources(arrays)
    handle = enqueue([_buffer(source) for source in sources], *arguments)
    return _kept(
        handle,
        sources,
        lambda done: [_taken_output(done, i, source.dtype) for i, source in enumerate(sources)],
    )


def _taken_output(handle: int, i: int, dtype: np.dtype) -> np.ndarray:
    """Output `i` without a copy; its memory lives as long as the array and its views."""
    _, shape = collectives.output(handle, i)
    data = collectives.take(handle, i)
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if nbytes == 0:
        collectives.free(data)
        return np.empty(shape, dtype)
    memory = (ctypes.c_char * nbytes).from_address(data)
    # Not at exit: an array may be used until the very end of the process.
    weakref.finalize(memory, collectives.free, data).atexit = False
    return np.ndarray(shape, dtype, buffer=memory)


def _first_of(handle: int) -> int:
    """The same handle, whose operation gives its only output instead of a list."""
    arrays, collect = _under_way[handle]
    return _kept(handle, arrays, lambda done: collect(done)[0])


# ---- Operations


def grouped_allreduce_async(
    arrays,
    name=None,
    op=Average,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
) -> int:
    """Starts `grouped_allreduce`."""
    scaling = (prescale_factor, postscale_factor)
    return _with_outputs(collectives.allreduce, arrays, name, op, *scaling, _id(process_set))


def grouped_allreduce(
    arrays,
    name=None,
    op=Average,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
) -> list[np.ndarray]:
    """`allreduce` of a list of arrays, done together."""
    scaling = (prescale_factor, postscale_factor)
    return synchronize(grouped_allreduce_async(arrays, name, op, *scaling, process_set))


def allreduce_async(
    array,
    name=None,
    op=Average,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
) -> int:
    """Starts `allreduce`."""
    scaling = (prescale_factor, postscale_factor)
    return _first_of(grouped_allreduce_async([array], name, op, *scaling, process_set))


def allreduce(
    array,
    name=None,
    op=Average,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
) -> np.ndarray:
    """Reduces an array of equal shape and type over the ranks; all ranks get the result.

    Args:
        array: what to reduce.
        name: see the module.
        op: Average, Sum, Adasum, Min, Max or Product. Averages of integers are rounded toward
            zero. For bool, Sum and Max are "any" and Product and Min are "all".
        prescale_factor: multiplies the array before the reduction.
        postscale_factor: multiplies the result.
        process_set: see the module.
    """
    scaling = (prescale_factor, postscale_factor)
    return synchronize(allreduce_async(array, name, op, *scaling, process_set))


def grouped_allgather_async(arrays, name=None, process_set=global_process_set) -> int:
    """Starts `grouped_allgather`."""
    return _with_new_outputs(collectives.allgather, arrays, name, _id(process_set))


def grouped_allgather(arrays, name=None, process_set=global_process_set) -> list[np.ndarray]:
    """`allgather` of a list of arrays, done together."""
    return synchronize(grouped_allgather_async(arrays, name, process_set))


def allgather_async(array, name=None, process_set=global_process_set) -> int:
    """Starts `allgather`."""
    return _first_of(grouped_allgather_async([array], name, process_set))


def allgather(array, name=None, process_set=global_process_set) -> np.ndarray:
    """Concatenates the ranks' arrays along the first dimension, which alone may differ."""
    return synchronize(allgather_async(array, name, process_set))


def broadcast_async(array, root_rank, name=None, process_set=global_process_set) -> int:
    """Starts `broadcast`."""
    handle = _with_outputs(collectives.broadcast, [array], name, root_rank, _id(process_set))
    return _first_of(handle)


def broadcast(array, root_rank, name=None, process_set=global_process_set) -> np.ndarray:
    """The array of `root_rank`, which counts in the global process set; equal shapes on all."""
    return synchronize(broadcast_async(array, root_rank, name, process_set))


def alltoall_async(array, splits=None, name=None, process_set=global_process_set) -> int:
    """Starts `alltoall`."""
    (source,) = _sources([array])
    numbers = None if splits is None else [int(number) for number in np.ravel(splits)]
    handle = collectives.alltoall([_buffer(source)], numbers, name, _id(process_set))

    def collect(done):
        received = np.array(collectives.received_splits(done, 0), dtype=np.int32)
        return _taken_output(done, 0, source.dtype), received

    return _kept(handle, source, collect)


def alltoall(
    array, splits=None, name=None, process_set=global_process_set
) -> tuple[np.ndarray, np.ndarray]:
    """Sends rows of the array to each rank.

    Args:
        array: of at least one dimension; only the first may differ between ranks.
        splits: how many rows go to each rank; equal numbers without it.

    Returns:
        The rows received, in the order of ranks, and how many came from each (int32).
    """
    return synchronize(alltoall_async(array, splits, name, process_set))


def grouped_reducescatter_async(
    arrays,
    name=None,
    op=Average,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
) -> int:
    """Starts `grouped_reducescatter`."""
    if op not in (Average, Sum):
        raise NotImplementedError("reducescatter knows Average and Sum alone")
    scaling = (prescale_factor, postscale_factor)
    return _with_new_outputs(
        collectives.reducescatter, arrays, name, op, *scaling, _id(process_set)
    )


def grouped_reducescatter(
    arrays,
    name=None,
    op=Average,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
) -> list[np.ndarray]:
    """`reducescatter` of a list of arrays, done together."""
    scaling = (prescale_factor, postscale_factor)
    return synchronize(grouped_reducescatter_async(arrays, name, op, *scaling, process_set))


def reducescatter_async(
    array,
    name=None,
    op=Average,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
) -> int:
    """Starts `reducescatter`."""
    scaling = (prescale_factor, postscale_factor)
    return _first_of(grouped_reducescatter_async([array], name, op, *scaling, process_set))


def reducescatter(
    array,
    name=None,
    op=Average,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
) -> np.ndarray:
    """Reduces an array over the ranks and leaves to each rank its rows of the result.

    The first ranks get one row more if the number of rows is no multiple of the number of ranks.
    `op` is Average or Sum.
    """
    scaling = (prescale_factor, postscale_factor)
    return synchronize(reducescatter_async(array, name, op, *scaling, process_set))


def join() -> int:
    """Says that this rank has no more data, waits for all ranks to say so; the last rank to do so.

    Meanwhile this rank takes part in the others' allreduces with zeros.
    """
    handle = collectives.join(-1, 0)
    collectives.wait(handle)
    try:
        return ctypes.c_int32.from_address(collectives.output(handle, 0)[0]).value
    finally:
        collectives.release(handle)


def barrier(process_set=global_process_set) -> None:
    """Waits until all ranks of the process set have called it."""
    collectives.finish(collectives.barrier(_id(process_set)))


def broadcast_object(obj, root_rank=0, name=None, process_set=global_process_set):
    """The root's object on all ranks, by cloudpickle; of any size. On the root `obj` itself."""
    name = name or "broadcast_object"
    return objects.broadcast_object(obj, root_rank, name, rank() == root_rank, _id(process_set))


def allgather_object(obj, name=None, process_set=global_process_set) -> list:
    """The objects of all ranks, in the order of ranks, by cloudpickle; of any size."""
    name, process_set_id = name or "allgather_object", _id(process_set)
    return objects.allgather_object(obj, name, process_set.size(), process_set_id)
