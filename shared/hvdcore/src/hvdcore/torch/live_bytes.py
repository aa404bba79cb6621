"""The bytes that tensors of real code take at its peak, counted without the memory for them.

The code runs on PyTorch's fake tensors, which have a shape, a type and a device, and no storage:
the operations are those of the real run, kernels of attention included. So a model that fits no
machine can be counted in seconds.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hvdcore.torch.heap import Heap

__all__ = ["LiveBytes", "fake_copy", "fake_tensors"]

Module = TypeVar("Module", bound=nn.Module)


def fake_tensors() -> Any:
    """A context manager: tensors made inside have no memory. Enter the same one to go on with
    them."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # loads more than training does

    return FakeTensorMode()


def fake_copy(model: Module, mode: Any) -> Module:
    """A copy of the model without memory, for use in `mode`, from `fake_tensors`."""
    from torch._subclasses.fake_tensor import FakeCopyMode

    with FakeCopyMode(mode):
        return copy.deepcopy(model)


def _no_label(tensor: Tensor) -> str:
    return ""


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, counts the storages that operations make, until they are freed.

    Works on real tensors as well as on fake ones. What a kernel allocates for itself inside is not
    seen.

    Args:
        known: tensors whose storages are counted elsewhere.
        label: the kind of a tensor, to tell kinds apart in `at_peak`.
        heap: is given the same blocks.

    Attributes:
        now: bytes at this time.
        peak: the most at a time.
        at_peak: kind to bytes, at that time.
    """

    def __init__(
        self,
        known: Iterable[Tensor] = (),
        label: Callable[[Tensor], str] = _no_label,
        heap: Heap | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._heap, self._blocks = heap, dict[int, int]()
        self._label = label
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._sizes: dict[int, tuple[str, int]] = {}
        self._by_label: dict[str, int] = {}
        self.now = 0
        self.reset_peak()

    def reset_peak(self) -> None:
        """Begin anew from what is live now."""
        self.peak, self.at_peak = self.now, dict(self._by_label)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and _is_fake(args[0]):
            return 1.0  # any value, such as a step count: no memory depends on it
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._count(value)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known or key in self._sizes:
            return
        label, size = self._label(tensor), storage.nbytes()
        self._sizes[key] = label, size
        if self._heap is not None:
            self._blocks[key] = self._heap.allocate(size)
        self._by_label[label] = self._by_label.get(label, 0) + size
        self.now += size
        if self.now > self.peak:
            self.reset_peak()
        weakref.finalize(storage, self._drop, key).atexit = False

    def _drop(self, key: int) -> None:
        label, size = self._sizes.pop(key)
        if self._heap is not None:
            self._heap.free(self._blocks.pop(key))
        self._by_label[label] -= size
        self.now -= size


def _is_fake(tensor: Tensor) -> bool:
    from torch._subclasses.fake_tensor import FakeTensor

    return isinstance(tensor, FakeTensor)
