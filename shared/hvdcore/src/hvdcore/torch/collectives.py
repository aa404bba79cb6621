"""Starting Horovod, and collectives on tensors, arrays, flags and plain objects.

Every rank must call each of these, in the same order. With one rank they return at once.
`horovod.torch` is imported on first use.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.profiler import record_function

from hvdcore.errors import UserError
from hvdcore.runtime import heartbeat
from hvdcore.runtime.startup import running_world, start_horovod
from hvdcore.runtime.world import World
from hvdcore.torch.streams import StreamTimer


@cache
def engine() -> ModuleType:
    """`horovod.torch`, imported on first use.

    Raises:
        UserError: Horovod is missing, or cannot be used with this PyTorch.
    """
    try:
        import horovod.torch
    except ImportError as error:
        raise UserError(f"horovod: {error}") from error

    module: ModuleType = horovod.torch
    return module


def init(*, timeline: bool = False) -> World:
    """Start Horovod and return this process's World. Every rank must call; again is harmless.

    With no launcher this is Horovod with one rank.

    Args:
        timeline: Horovod's timeline can be started and stopped while it runs; the same on all
            ranks, and in place of a HOROVOD_TIMELINE in the environment.

    Raises:
        UserError: Horovod is missing or does not fit this PyTorch, or fewer or more ranks came up
            than the launcher was asked for.
    """
    settings = {"HOROVOD_TIMELINE": "DYNAMIC"} if timeline else {}
    # A fused collective would begin when the last of its tensors is ready, and the order of its
    # sums would depend on which tensors were fused.
    settings["HOROVOD_FUSION_THRESHOLD"] = os.environ.get("HOROVOD_FUSION_THRESHOLD", "0")
    return start_horovod(engine(), settings)


def shutdown() -> None:
    """Stop Horovod. Every rank must call; without `init` it does nothing."""
    if started():
        engine().shutdown()


def started() -> bool:
    """Whether `init` has been called, and `shutdown` has not."""
    return engine.cache_info().currsize > 0 and bool(engine().is_initialized())


def current_world() -> World:
    """The World of the running Horovod.

    Raises:
        RuntimeError: `init` has not been called.
    """
    if not started():
        raise RuntimeError("call hvdcore.torch.init() first")
    return running_world(engine())


Summed = TypeVar("Summed", Tensor, npt.NDArray[Any])


class _Clock:
    seconds = 0.0
    gpu = StreamTimer()


def communication_seconds() -> float:
    """Seconds that this process has spent in collectives and waiting for other ranks, so far.

    For tensors on a GPU these are what its stream waited, not what the host did.
    """
    return _Clock.seconds + _Clock.gpu.seconds()


def wait(handle: int, name: str = "") -> Tensor:
    """Wait for one of Horovod's handles and return its output.

    While it waits the watchdog knows this rank as blameless: phase 'communicate'. `name` is the
    operation's, for whoever asks where the ranks stand.
    """
    return wait_for(lambda: engine().synchronize(handle), name)


def wait_for(synchronize: Callable[[], Tensor], name: str) -> Tensor:
    """What `synchronize` returns, which waits for a collective; otherwise as `wait`."""
    heartbeat.beat("communicate", collective=name)
    started = time.perf_counter()
    # On a GPU the stream waits, and the host goes on; so the time is the stream's.
    gpu = _Clock.gpu.timing() if torch.cuda.is_initialized() else nullcontext()  # type: ignore[no-untyped-call]
    with record_function("communicate"), gpu:  # shows in a profile, beside PyTorch's own
        output = synchronize()
    if not first_output(output).is_cuda:
        _Clock.seconds += time.perf_counter() - started
    heartbeat.beat("compute")
    return output


def sum_in_place(tensor: Tensor, name: str) -> None:
    """Replace a contiguous tensor by its sum over ranks.

    A name used again with the same shape skips Horovod's full negotiation, so it is the caller's.
    """
    if current_world().size > 1:
        hvd = engine()
        wait(hvd.allreduce_async_(tensor, op=hvd.Sum, name=name), name)


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
    return wait(engine().allgather_async(tensor, name=name), name)


def any_rank(flag: bool) -> bool:
    """Whether `flag` is true on some rank.

    A training step need not pay for this: `ShardedOptimizer.step(stop=...)` carries a flag along.
    """
    return bool(allreduce_sum(torch.tensor([float(flag)]))[0] > 0)


def barrier() -> None:
    """Return when every rank has called this. Every rank must call."""
    sum_in_place(torch.zeros(1), "hvdcore.barrier")


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
        wait(handle, "broadcast_parameters")


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
    wait(hvd.broadcast_async_(length, root_rank, name="hvdcore.object.length"), "hvdcore.object")
    data = torch.zeros(int(length[0]), dtype=torch.uint8)
    if world.rank == root_rank:
        data.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    wait(hvd.broadcast_async_(data, root_rank, name="hvdcore.object.text"), "hvdcore.object")
    return json.loads(data.numpy().tobytes())


PIECE_BYTES = 1 << 23
"""Gathered at a time from each rank: what is under way takes memory beside the result, and MPI
counts elements in 32 bits."""


def gather_bytes(data: Tensor, name: str, piece_bytes: int = PIECE_BYTES) -> list[Tensor]:
    """Every rank's uint8 `data`, in rank order, on rank 0; elsewhere an empty list.

    Every rank must call. `name` tells apart gathers of different things.
    """
    world = current_world()
    if world.size == 1:
        return [data]
    lengths = gather_rows(torch.tensor([len(data)]), f"hvdcore.gather.{name}.lengths").tolist()
    received = [torch.empty(length, dtype=torch.uint8) for length in lengths]
    for start in range(0, max(lengths), piece_bytes):
        ends = [min(length, start + piece_bytes) for length in lengths]
        splits = torch.tensor([max(0, ends[world.rank] - start)] + [0] * (world.size - 1))
        piece = data[start : ends[world.rank]]
        # Horovod has no gather: an all-to-all in which all send to rank 0 moves the same bytes.
        handle = engine().alltoall_async(piece, splits.int(), name=f"hvdcore.gather.{name}")
        joined = first_output(wait(handle, f"hvdcore.gather.{name}"))
        if world.rank == 0:
            _place(joined, received, start, ends)
    return received if world.rank == 0 else []


def gather_objects(value: Any) -> list[Any]:
    """Every rank's `value`, in rank order, on rank 0, through JSON; elsewhere an empty list.

    Every rank must call.

    Raises:
        TypeError: the value is not made of JSON's types.
    """
    data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    return [json.loads(part.numpy().tobytes()) for part in gather_bytes(data, "objects")]


def first_output(output: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """A collective's output, without the sizes of what it received."""
    return output if isinstance(output, Tensor) else output[0]


def _place(joined: Tensor, received: list[Tensor], start: int, ends: list[int]) -> None:
    offset = 0
    for target, end in zip(received, ends, strict=True):
        length = max(0, end - start)
        target[start : start + length] = joined[offset : offset + length]
        offset += length


def weights_sha256(weights: nn.Module | Mapping[str, Tensor]) -> str:
    """SHA-256 over name, type, shape and bytes of each tensor, in the order of names."""
    tensors = weights.state_dict() if isinstance(weights, nn.Module) else weights
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_same_weights(weights: nn.Module | Mapping[str, Tensor]) -> str:
    """The hash that every rank's weights share. Every rank must call.

    Raises:
        RuntimeError: on every rank, naming the ranks whose weights differ from most.
    """
    own = bytearray.fromhex(weights_sha256(weights))
    row = torch.frombuffer(own, dtype=torch.uint8).reshape(1, -1)
    rows = gather_rows(row, "hvdcore.weights_sha256")
    hashes = [bytes(row.tolist()).hex() for row in rows]
    most = max(hashes, key=lambda value: (hashes.count(value), -hashes.index(value)))
    different = [rank for rank, value in enumerate(hashes) if value != most]
    if different:
        raise RuntimeError(
            f"weights differ between ranks: {_ranks(different)} of {current_world().size} "
            f"disagree with the others"
        )
    return most


def _ranks(ranks: list[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
