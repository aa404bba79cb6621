"""An operation of horovod.tensorflow that Python starts, waits for and takes the results of."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from horovod.common import collectives
from horovod.common.exceptions import HorovodInternalError

import tensorflow as tf

_ERRORS = {
    collectives.PRECONDITION: tf.errors.FailedPreconditionError,
    collectives.ABORTED: tf.errors.AbortedError,
    collectives.INVALID_ARGUMENT: tf.errors.InvalidArgumentError,
}


@dataclass(frozen=True)
class Call:
    """What an operation is, but for its tensors."""

    kind: str
    name: str
    process_set: int
    reduce_op: int = 0
    prescale: float = 1.0
    postscale: float = 1.0
    root_rank: int = 0
    splits: tuple[int, ...] = ()


class StartedCall:
    """An operation under way, with the arrays that it reads.

    Raises a `tf.errors.OpError` of the kind that the compiled operation raises, at the start and
    in `wait`.
    """

    def __init__(self, call: Call, arrays: Sequence[np.ndarray]) -> None:
        self.call = call
        self.inputs = [np.ascontiguousarray(a).reshape(np.shape(a)) for a in arrays]
        with _errors_of(call):
            self._handle = _STARTS[call.kind](call, [_buffer(a) for a in self.inputs])

    def is_done(self) -> bool:
        """Whether `wait` will return at once."""
        return collectives.poll(self._handle)

    def wait_at_most(self, seconds: float) -> None:
        """Return when the operation is done, or after `seconds`."""
        collectives.wait_at_most(self._handle, seconds)

    def wait(self) -> list[np.ndarray]:
        """The outputs, in arrays of their own; the operation is forgotten."""
        with _errors_of(self.call):
            collectives.wait(self._handle)
            try:
                return self._outputs()
            finally:
                collectives.release(self._handle)

    def _outputs(self) -> list[np.ndarray]:
        if self.call.kind == "barrier":
            return []
        if self.call.kind == "join":
            return [self._output(0, np.dtype(np.int32))]
        results = [self._output(i, array.dtype) for i, array in enumerate(self.inputs)]
        if self.call.kind == "alltoall":
            results.append(np.array(collectives.received_splits(self._handle, 0), np.int32))
        return results

    def _output(self, i: int, dtype: np.dtype) -> np.ndarray:
        data, shape = collectives.output(self._handle, i)
        result = np.empty(shape, dtype)
        ctypes.memmove(result.ctypes.data, data, result.nbytes)
        return result


def _buffer(array: np.ndarray) -> collectives.Buffer:
    return array.ctypes.data, 0, array.shape, collectives.DTYPES[array.dtype.name]


def _reduce(start: Callable[..., int]) -> Callable[[Call, list[collectives.Buffer]], int]:
    return lambda call, buffers: start(
        buffers, call.name, call.reduce_op, call.prescale, call.postscale, call.process_set
    )


_STARTS: dict[str, Callable[[Call, list[collectives.Buffer]], int]] = {
    "allreduce": _reduce(collectives.allreduce),
    "reducescatter": _reduce(collectives.reducescatter),
    "allgather": lambda call, buffers: collectives.allgather(buffers, call.name, call.process_set),
    "broadcast": lambda call, buffers: collectives.broadcast(
        buffers, call.name, call.root_rank, call.process_set
    ),
    "alltoall": lambda call, buffers: collectives.alltoall(
        buffers, call.splits, call.name, call.process_set
    ),
    "join": lambda call, _: collectives.join(-1, call.process_set),
    "barrier": lambda call, _: collectives.barrier(call.process_set),
}


@contextlib.contextmanager
def _errors_of(call: Call) -> Iterator[None]:
    try:
        yield
    except (HorovodInternalError, ValueError) as error:
        kind = _ERRORS.get(getattr(error, "status", None), tf.errors.UnknownError)
        message = f"Horovod{call.kind.capitalize()} {call.name}: {error}"
        raise kind(None, None, message) from None
