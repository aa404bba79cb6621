"""Owns the small collectives on tensors, arrays, flags and plain objects.

Every rank must call each of these, in the same order. With one rank they return at once.
"""

from __future__ import annotations

import json
import time
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.profiler import record_function

from hvdcore.runtime import heartbeat
from hvdcore.torch.engine import current_world, engine

Summed = TypeVar("Summed", Tensor, npt.NDArray[Any])


class _Clock:
    seconds = 0.0


def communication_seconds() -> float:
    """Seconds that this process has spent in collectives and waiting for other ranks, so far."""
    return _Clock.seconds


def wait(handle: int) -> Tensor:
    """Wait for one of Horovod's handles and return its output.

    While it waits the watchdog knows this rank as blameless: phase 'communicate'.
    """
    heartbeat.beat("communicate")
    started = time.perf_counter()
    with record_function("communicate"):  # shows in a profile, beside PyTorch's own operations
        output: Tensor = engine().synchronize(handle)
    _Clock.seconds += time.perf_counter() - started
    heartbeat.beat("compute")
    return output


def sum_in_place(tensor: Tensor, name: str) -> None:
    """Replace a contiguous tensor by its sum over ranks.

    A name used again with the same shape skips Horovod's full negotiation, so it is the caller's.
    """
    if current_world().size > 1:
        hvd = engine()
        wait(hvd.allreduce_async_(tensor, op=hvd.Sum, name=name))


def allreduce_sum(values: Summed) -> Summed:
    """The sum over ranks of a tensor or NumPy array of equal shape and type on each."""
    if isinstance(values, Tensor):
        total = values.detach().clone(memory_format=torch.contiguous_format)
        sum_in_place(total, f"hvdcore.sum.{total.dtype}.{tuple(total.shape)}")
        return total
    return allreduce_sum(torch.from_numpy(np.array(values, order="C"))).numpy()


def gather_rows(tensor: Tensor, name: str) -> Tensor:
    """All ranks' rows, in rank order: [rows of this rank, ...] -> [rows of all ranks, ...]."""
    if current_world().size == 1:
        return tensor
    return wait(engine().allgather_async(tensor, name=name))


def any_rank(flag: bool) -> bool:
    """Whether `flag` is true on some rank.

    A training step need not pay for this: `ShardedOptimizer.step(stop=...)` carries a flag along.
    """
    return bool(allreduce_sum(torch.tensor([float(flag)]))[0] > 0)


def broadcast_parameters(module: nn.Module, root_rank: int = 0) -> None:
    """Give every rank root_rank's parameters and persistent buffers, in place."""
    if current_world().size == 1:
        return
    hvd = engine()
    handles = [
        hvd.broadcast_async_(tensor, root_rank, name=f"hvdcore.broadcast.{name}")
        for name, tensor in module.state_dict().items()
    ]
    for handle in handles:
        wait(handle)


def broadcast_object(value: Any, root_rank: int = 0) -> Any:
    """Root_rank's `value` on every rank, through JSON: tuples come back as lists.

    Raises:
        TypeError: on root_rank, the value is not made of JSON's types.
    """
    world = current_world()
    if world.size == 1:
        return json.loads(json.dumps(value))
    hvd = engine()
    text = json.dumps(value).encode() if world.rank == root_rank else b""
    length = torch.tensor([len(text)])
    wait(hvd.broadcast_async_(length, root_rank, name="hvdcore.object.length"))
    data = torch.zeros(int(length[0]), dtype=torch.uint8)
    if world.rank == root_rank:
        data.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    wait(hvd.broadcast_async_(data, root_rank, name="hvdcore.object.text"))
    return json.loads(data.numpy().tobytes())
