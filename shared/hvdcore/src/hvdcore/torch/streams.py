"""Numbers and times of a GPU that the host learns without a wait for all that is queued."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_new_event: Any = torch.cuda.Event  # PyTorch's annotations lack its arguments


class Readback:
    """A small tensor on its way to the host, queued behind the work that makes it.

    On a GPU `values` waits for that work alone, and not for what has been queued behind it since.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._copied: Any = None
        self._host = tensor
        if tensor.is_cuda:
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._copied = _new_event()
            self._copied.record()

    def values(self) -> list[float]:
        """The numbers."""
        if self._copied is not None:
            self._copied.synchronize()
        numbers: list[float] = self._host.tolist()
        return numbers


class StreamTimer:
    """Seconds that the current GPU's stream has spent between pairs of points.

    Pairs that the GPU has not come to are counted later, so a step's own may be in the next one's.
    """

    def __init__(self) -> None:
        self._pairs: deque[tuple[Any, Any]] = deque()
        self._seconds = 0.0

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Counts what is queued in the block."""
        began, ended = (_new_event(enable_timing=True) for _ in range(2))
        began.record()
        yield
        ended.record()
        self._pairs.append((began, ended))

    def seconds(self) -> float:
        """All that is known by now."""
        while self._pairs and self._pairs[0][1].query():
            began, ended = self._pairs.popleft()
            self._seconds += began.elapsed_time(ended) / 1e3
        return self._seconds
