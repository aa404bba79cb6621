"""A thread that goes on with a collective's result, while the main thread computes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from queue import SimpleQueue
from typing import Generic, TypeVar

import torch
from torch import Tensor

from hvdcore.torch.collectives import engine, first_output

Result = TypeVar("Result")
Job = tuple[int, Callable[[Tensor], Result], "Future[Result]"]


class Relay(Generic[Result]):
    """Waits for collectives in the order in which they were started, and hands each one's output
    to a function, which may start another.

    So the second collective of a chain begins on every rank when the first one is done, whatever
    the main thread does by then: it may compute, or wait for a rank that waits for this chain.

    On a GPU the function's work is queued on a stream of its own, and never waits for what the main
    thread has queued since.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._queue: SimpleQueue[Job[Result] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def after(self, handle: int, then: Callable[[Tensor], Result]) -> Future[Result]:
        """What `then` will return, given the output of the collective behind `handle`; or the
        exception of either."""
        if self._thread is None:
            arguments = (self._queue, self._device)
            # A daemon: should another rank be gone, nobody waits for this one's wait at the end.
            self._thread = threading.Thread(target=_run, args=arguments, daemon=True)
            self._thread.start()
            weakref.finalize(self, self._queue.put, None)
        future: Future[Result] = Future()
        self._queue.put((handle, then, future))
        return future


@torch.no_grad()
def _run(queue: SimpleQueue[Job[Result] | None], device: torch.device) -> None:
    with _stream(device):
        while (job := queue.get()) is not None:
            _do(*job)
            del job  # else its tensors stay until the next one


def _do(handle: int, then: Callable[[Tensor], Result], future: Future[Result]) -> None:
    try:
        future.set_result(then(first_output(engine().synchronize(handle))))
    except BaseException as error:
        future.set_exception(error)


def _stream(device: torch.device) -> AbstractContextManager[object]:
    if device.type != "cuda":
        return nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
