"""Python objects between ranks: pickled, and sent as bytes in pieces of at most 1 GiB.

MPI counts in 32 bits, so that one message holds less than 2 GiB; objects may be larger.
"""

from __future__ import annotations

import ctypes
from typing import Any

import cloudpickle
from horovod.common import collectives

PIECE_BYTES = 1 << 30

_UINT8 = collectives.DTYPES["uint8"]
_INT64 = collectives.DTYPES["int64"]


def broadcast_object(obj: Any, root_rank: int, name: str, is_root: bool, process_set: int) -> Any:
    """The root's object on all ranks of the process set; on the root `obj` itself.

    `name` must be the same on all ranks.
    """
    data = bytearray(cloudpickle.dumps(obj)) if is_root else bytearray()
    length = (ctypes.c_int64 * 1)(len(data))
    _broadcast(ctypes.addressof(length), 1, _INT64, root_rank, f"{name}.sz", process_set)
    if not is_root:
        data = bytearray(length[0])
    memory = (ctypes.c_char * len(data)).from_buffer(data)
    start = ctypes.addressof(memory)
    for i, at in enumerate(range(0, len(data), PIECE_BYTES)):
        count = min(PIECE_BYTES, len(data) - at)
        _broadcast(start + at, count, _UINT8, root_rank, _piece_name(name, i), process_set)
    return obj if is_root else cloudpickle.loads(data)


def allgather_object(obj: Any, name: str, size: int, process_set: int) -> list[Any]:
    """The objects of all ranks of the process set, which are `size`, in the order of ranks."""
    data = bytearray(cloudpickle.dumps(obj))
    length = (ctypes.c_int64 * 1)(len(data))
    lengths = memoryview(_allgather(ctypes.addressof(length), 1, _INT64, f"{name}.sz", process_set))
    lengths = lengths.cast("q").tolist()
    memory = (ctypes.c_char * len(data)).from_buffer(data)
    piece = max(1, PIECE_BYTES // size)
    gathered = [bytearray() for _ in lengths]
    for i, at in enumerate(range(0, max(lengths), piece)):
        counts = [max(0, min(piece, total - at)) for total in lengths]
        count = max(0, min(piece, len(data) - at))
        address = ctypes.addressof(memory) + min(at, len(data))
        received = _allgather(address, count, _UINT8, _piece_name(name, i), process_set)
        _share_out(received, counts, gathered)
    return [cloudpickle.loads(pickled) for pickled in gathered]


def _piece_name(name: str, i: int) -> str:
    return f"{name}.t" if i == 0 else f"{name}.t.{i}"


def _share_out(received: bytes, counts: list[int], gathered: list[bytearray]) -> None:
    view, at = memoryview(received), 0
    for count, whole in zip(counts, gathered, strict=True):
        whole += view[at : at + count]
        at += count


def _broadcast(
    address: int, count: int, dtype: int, root_rank: int, name: str, process_set: int
) -> None:
    buffer = (address, address, (count,), dtype)
    collectives.finish(collectives.broadcast([buffer], name, root_rank, process_set))


def _allgather(address: int, count: int, dtype: int, name: str, process_set: int) -> bytes:
    handle = collectives.allgather([(address, 0, (count,), dtype)], name, process_set)
    collectives.wait(handle)
    try:
        data, shape = collectives.output(handle, 0)
        return ctypes.string_at(data, shape[0] * (8 if dtype == _INT64 else 1))
    finally:
        collectives.release(handle)
