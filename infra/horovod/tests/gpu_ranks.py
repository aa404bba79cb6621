"""Run by two ranks over the stub of CUDA and NCCL: values, and the order of streams and events.

Writes `{"case": "ok" or the traceback, ...}` to the file named on the command line, one a rank.
Every input is written by a slow kernel when the operation is enqueued, and every result is read by
a kernel, without a wait of the host: values are right only if the streams wait for each other. The
third argument is `own`, a GPU a rank, or `shared`, one GPU for both; names of cases may follow.
"""

from __future__ import annotations

import ctypes
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

from core_abi import (
    AVERAGE,
    DTYPES,
    INVALID_ARGUMENT,
    MAX,
    MIN,
    PRODUCT,
    SUM,
    Core,
    Tensor,
    failure,
)
from gpu_rig import Gpu, GpuTensor, results

Case = Callable[[Core, int, Gpu], None]
CASES: dict[str, Case] = {}
ORDER: dict[str, Case] = {}
"""Those that look at NCCL's calls, and so need a GPU a rank."""
_ONES = (ctypes.c_double(1.0), ctypes.c_double(1.0))


def case(function: Case) -> Case:
    """Registers a case by its function's name."""
    CASES[function.__name__] = function
    return function


def order(function: Case) -> Case:
    """Registers a case that is for NCCL alone."""
    ORDER[function.__name__] = function
    return function


def allreduce(
    core: Core, gpu: Gpu, tensors: list[GpuTensor], name: str, op: int = SUM, *scales: float
) -> list[tuple]:
    factors = tuple(ctypes.c_double(scale) for scale in scales) or _ONES
    handle = core.start("allreduce", tensors, name, op, *factors, 0)
    return results(core, gpu, handle, tensors)


def run(core: Core, gpu: Gpu, operation: str, tensors: list[GpuTensor], *rest: Any) -> list[tuple]:
    return results(core, gpu, core.start(operation, tensors, *rest), tensors)


def alltoall(
    core: Core, gpu: Gpu, tensor: GpuTensor, name: str, splits: list[int] | None
) -> list[tuple]:
    return run(core, gpu, "alltoall", [tensor], name, splits, 0)


@case
def every_type_in_every_reduction(core: Core, rank: int, gpu: Gpu) -> None:
    for dtype in DTYPES:
        if dtype == "bool":
            continue
        whole = "int" in dtype
        wanted = {
            SUM: [3, 4, 9],
            AVERAGE: [1, 2, 4] if whole else [1.5, 2, 4.5],
            MIN: [1, 2, 3],
            MAX: [2, 2, 6],
            PRODUCT: [2, 4, 18],
        }
        for op, values in wanted.items():
            tensor = GpuTensor(gpu, [1 + rank, 2, 3 * (rank + 1)], dtype, to_own=True)
            got = allreduce(core, gpu, [tensor], f"{dtype}.{op}", op)
            assert got == [([3], values)], (dtype, op, got)


@case
def bools_are_any_and_all(core: Core, rank: int, gpu: Gpu) -> None:
    for op, values in {SUM: [1, 1, 0], PRODUCT: [1, 0, 0]}.items():
        tensor = GpuTensor(gpu, [1, rank, 0], "bool", to_own=True)
        assert allreduce(core, gpu, [tensor], f"b{op}", op) == [([3], [bool(v) for v in values])]


@case
def factors(core: Core, rank: int, gpu: Gpu) -> None:
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        tensor = GpuTensor(gpu, [1 + rank, 4], dtype, to_own=True)
        got = allreduce(core, gpu, [tensor], f"scale.{dtype}", SUM, 2.0, 0.25)
        assert got == [([2], [1.5, 4])], (dtype, got)


@case
def a_group_with_outputs_of_the_library(core: Core, rank: int, gpu: Gpu) -> None:
    tensors = [GpuTensor(gpu, [i + rank] * (i + 1)) for i in range(4)]
    got = allreduce(core, gpu, tensors, "group")
    assert got == [([i + 1], [2 * i + 1] * (i + 1)) for i in range(4)], got


@case
def allgather_of_equal_and_unequal_rows(core: Core, rank: int, gpu: Gpu) -> None:
    equal = [GpuTensor(gpu, [rank, rank], "int64", [1, 2])]
    assert run(core, gpu, "allgather", equal, "g1", 0) == [([2, 2], [0, 0, 1, 1])]
    unequal = [GpuTensor(gpu, [rank] * 2 * (rank + 1), "bfloat16", [rank + 1, 2])]
    assert run(core, gpu, "allgather", unequal, "g2", 0) == [([3, 2], [0, 0, 1, 1, 1, 1])]
    none = [GpuTensor(gpu, [7.0] * rank, "float32", [rank])]
    assert run(core, gpu, "allgather", none, "g3", 0) == [([1], [7])]


@case
def broadcast_from_either_rank(core: Core, rank: int, gpu: Gpu) -> None:
    for root in (0, 1):
        tensor = GpuTensor(gpu, [10 + rank, 20], "int32", to_own=True)
        got = run(core, gpu, "broadcast", [tensor], f"root{root}", root, 0)
        assert got == [([2], [10 + root, 20])], got


@case
def alltoall_with_and_without_splits(core: Core, rank: int, gpu: Gpu) -> None:
    tensor = GpuTensor(gpu, [10 * rank, 10 * rank + 1], "int32")
    assert alltoall(core, gpu, tensor, "a1", None) == [([2], [rank, 10 + rank])]
    splits = [1, 2] if rank == 0 else [0, 3]
    rows = GpuTensor(gpu, [100 * rank + i for i in range(3)], "float64")
    wanted = [0] if rank == 0 else [1, 2, 100, 101, 102]
    got = alltoall(core, gpu, rows, "a2", splits)
    assert got == [([len(wanted)], wanted)], got


@case
def reducescatter_of_even_and_odd_rows(core: Core, rank: int, gpu: Gpu) -> None:
    even = GpuTensor(gpu, [1 + rank, 2, 3, 4])
    got = run(core, gpu, "reducescatter", [even], "r1", SUM, *_ONES, 0)
    assert got == [([2], [3, 4] if rank == 0 else [6, 8])], got
    odd = GpuTensor(gpu, [1, 2, 3 + rank], "float64")
    got = run(core, gpu, "reducescatter", [odd], "r2", AVERAGE, *_ONES, 0)
    assert got == [([2], [1, 2]) if rank == 0 else ([1], [3.5])], got


@case
def a_rank_that_has_joined_gives_zeros(core: Core, rank: int, gpu: Gpu) -> None:
    if rank == 0:
        tensor = GpuTensor(gpu, [5, 6], to_own=True)
        assert allreduce(core, gpu, [tensor], "late") == [([2], [5, 6])]
    handle = core.checked(core.lib.horovod_join(-1, 0))
    assert core.wait(handle) == 0
    core.lib.horovod_release(ctypes.c_int64(handle))


@case
def what_cannot_be_is_refused(core: Core, rank: int, gpu: Gpu) -> None:
    tensor = GpuTensor(gpu, [1], to_own=True)
    gpu.capture(True)
    error = failure(lambda: core.start("allreduce", [tensor], "graph", SUM, *_ONES, 0))
    gpu.capture(False)
    assert error.status == INVALID_ARGUMENT, error
    assert "CUDA graph" in str(error), error
    missing = GpuTensor(gpu, [1], to_own=True)
    missing.gpu = Gpu(7)
    error = failure(lambda: core.start("allreduce", [missing], "seven", SUM, *_ONES, 0))
    assert "this process sees 2 GPUs" in str(error), error
    pair = [GpuTensor(gpu, [1], to_own=True), Tensor([1], to_own=True)]
    error = failure(lambda: core.start("allreduce", pair, "mixed", SUM, *_ONES, 0))
    assert "same device" in str(error), error


@case
def ranks_on_different_kinds_of_memory_are_told(core: Core, rank: int, gpu: Gpu) -> None:
    tensor = GpuTensor(gpu, [1], to_own=True) if rank else Tensor([1], to_own=True)
    error = failure(lambda: core.run("allreduce", [tensor], "kinds", SUM, *_ONES, 0))
    assert "CPU/GPU" in str(error), error


@order
def the_streams_wait_by_events_and_the_host_does_not(core: Core, rank: int, gpu: Gpu) -> None:
    allreduce(core, gpu, [GpuTensor(gpu, [1], to_own=True)], "first")
    tensor = GpuTensor(gpu, [1], to_own=True)
    gpu.forget()
    handle = core.start("allreduce", [tensor], "order", SUM, *_ONES, 0)
    assert core.wait(handle) == 0
    calls = [call.split() for call in gpu.calls()]
    core.lib.horovod_release(ctypes.c_int64(handle))
    user = gpu.stream_name
    (_, ready, _), (_, seen, own), *rest = calls
    assert calls[0] == ["record", ready, user]
    assert seen == ready, calls
    assert own != user, calls
    assert calls[1][0] == "wait", calls
    assert rest[:3] == [["group_start"], ["all_reduce", own], ["group_end"]], calls
    (record, done, where), (wait, seen, on) = rest[3:]
    assert (record, where, wait, seen, on) == ("record", own, "wait", done, user), calls
    gpu.synchronize()


@order
def a_group_is_one_launch_without_copies(core: Core, rank: int, gpu: Gpu) -> None:
    tensors = [GpuTensor(gpu, [rank], to_own=True) for _ in range(5)]
    gpu.forget()
    handle = core.start("allreduce", tensors, "launch", SUM, *_ONES, 0)
    assert core.wait(handle) == 0
    names = [call.split()[0] for call in gpu.calls()]
    core.lib.horovod_release(ctypes.c_int64(handle))
    assert names.count("group_start") == 1, names
    assert names.count("all_reduce") == 5, names
    assert not any(name.startswith(("copy", "memset", "malloc", "sync")) for name in names), names
    gpu.synchronize()


@order
def memory_is_used_again_after_its_last_reader(core: Core, rank: int, gpu: Gpu) -> None:
    for i in range(3):
        rows = [GpuTensor(gpu, [i + rank] * 700, "float64")]
        if i == 1:
            gpu.forget()
        wanted = [([1400], [i] * 700 + [i + 1] * 700)]
        assert run(core, gpu, "allgather", rows, "again", 0) == wanted
    assert "malloc" not in gpu.calls()


@order
def another_stream_can_be_ordered(core: Core, rank: int, gpu: Gpu) -> None:
    tensor = GpuTensor(gpu, [1 + rank], to_own=True)
    handle = core.start("allreduce", [tensor], "other", SUM, *_ONES, 0)
    assert core.wait(handle) == 0
    other = Gpu(gpu.device)
    gpu.forget()
    stream = ctypes.c_void_p(other.stream)
    assert core.lib.horovod_order(ctypes.c_int64(handle), stream) == 0
    (call,) = gpu.calls()
    assert call.startswith("wait"), call
    assert call.endswith(other.stream_name), call
    core.lib.horovod_release(ctypes.c_int64(handle))
    gpu.synchronize()


def main(library: str, report: str, gpus: str, *only: str) -> None:
    core = Core(library)
    for name in ("order", "copy_output"):
        getattr(core.lib, f"horovod_{name}").restype = ctypes.c_int
    core.init()
    rank = core.rank
    gpu = Gpu(rank if gpus == "own" else 0)
    done = {}
    for name, function in {**CASES, **(ORDER if gpus == "own" else {})}.items():
        if only and name not in only:
            continue
        core.barrier()
        try:
            function(core, rank, gpu)
            done[name] = "ok"
        except Exception:
            done[name] = traceback.format_exc()
    gpu.forget()
    core.lib.horovod_shutdown()
    done["end"] = gpu.calls()
    with open(f"{report}.{rank}", "w", encoding="utf-8") as file:
        json.dump(done, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
