"""What the C library's heap takes for a sequence of allocations, found out by making them.

Between blocks that are in use there are holes that fit no new block, and a heap rarely gives its
memory back. With PyTorch on CPUs that is a tenth to a quarter of a training's memory, and no sum of
sizes shows it. Here the real allocator is given the same sizes in the same order; nothing is
written to the blocks, so they take address space and almost no memory.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterator
from typing import Any

__all__ = ["Heap"]

ALIGNMENT = 64
"""PyTorch's, of tensors on CPUs."""
SMALL_SIZES = (24, 56, 88)
"""Of the objects that come with a tensor: the slivers that an aligned block leaves beside it."""
PLUG_SIZES = tuple(1 << power for power in range(24, 14, -1))
"""Of blocks that fill holes, 16 MB to 32 KB."""


class _Usage(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _library() -> Any:
    """glibc, 2.33 or later; None elsewhere."""
    library = ctypes.CDLL(None)
    try:
        library.mallinfo2.restype = _Usage
    except AttributeError:
        return None
    library.free.argtypes = [ctypes.c_void_p]
    library.malloc.argtypes, library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.posix_memalign.argtypes = [
        ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_size_t,
    ]  # fmt: skip
    return library


class Heap:
    """The main heap of this process, in addition to what it holds now.

    Where the C library is not glibc, blocks take their size and no more.

    For an aligned block glibc takes a larger one and cuts slivers off its ends. Where a small
    object has taken a sliver, the hole of a tensor is too small for the next one of its size.

    Args:
        small_objects: how many small objects are alive at a time, the youngest; three are made with
            each block.

    Attributes:
        peak: bytes up to the end of its last block, at most since the beginning.
    """

    def __init__(self, small_objects: int = 0) -> None:
        self._library = _library()
        self._num_small, self._small = small_objects, deque[int]()
        self._blocks: dict[int, tuple[int | None, int]] = {}
        self._next = 0
        self._uncounted = 0
        """Bytes of blocks that could not be allocated here."""
        self.peak = 0
        self._plugs = list(self._fill_holes())
        self._before = self._taken()

    def allocate(self, size: int) -> int:
        """Allocate a block; returns its number."""
        pointer = ctypes.c_void_p()
        address = None
        if self._library is not None and not self._library.posix_memalign(
            ctypes.byref(pointer), ALIGNMENT, max(size, 1)
        ):
            address = pointer.value
        if address is None:
            self._uncounted += size
        self._next += 1
        self._blocks[self._next] = address, size
        if self._num_small and self._library is not None:
            self._small.extend(self._library.malloc(size) for size in SMALL_SIZES)
            self._free_small(self._num_small)
        self.peak = max(self.peak, self._taken() - self._before)
        return self._next

    def free(self, block: int) -> None:
        """Give a block back; after `close` there is none."""
        address, size = self._blocks.pop(block, (None, 0))
        if address is None:
            self._uncounted -= size
        else:
            self._library.free(address)

    def _free_small(self, left: int) -> None:
        """Give back the oldest small objects, all but `left`."""
        while len(self._small) > left:
            self._library.free(self._small.popleft())

    def _fill_holes(self) -> Iterator[int]:
        """Blocks in the holes that the heap has already, larger ones first: none would be left in
        a process that had not done what this one has."""
        if self._library is None:
            return
        for size in PLUG_SIZES:
            while True:
                before, pointer = self._taken(), ctypes.c_void_p()
                if self._library.posix_memalign(ctypes.byref(pointer), ALIGNMENT, size):
                    return
                assert pointer.value is not None
                if self._taken() > before:
                    self._library.free(pointer)
                    break
                yield pointer.value

    def close(self) -> None:
        """Give all blocks back, and the memory behind them to the system."""
        for block in list(self._blocks):
            self.free(block)
        self._free_small(0)
        for plug in self._plugs:
            self._library.free(plug)
        self._plugs.clear()
        if self._library is not None:
            self._library.malloc_trim(0)

    def _taken(self) -> int:
        if self._library is None:
            return self._uncounted
        usage = self._library.mallinfo2()
        # The end of the last block: what is free behind it, up to MALLOC_TOP_PAD_, was not touched.
        return int(usage.arena - usage.keepcost + usage.hblkhd) + self._uncounted
