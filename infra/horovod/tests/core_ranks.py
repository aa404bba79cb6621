"""Run by both ranks: every case of the C interface, rank-coded, with values written by hand.

Writes `{"case": "ok" or the traceback, ...}` to the file named on the command line, one a rank.
"""

from __future__ import annotations

import ctypes
import json
import sys
import traceback
from collections.abc import Callable

from core_abi import (
    AVERAGE,
    DTYPES,
    IN_PROGRESS,
    INVALID_ARGUMENT,
    MAX,
    MIN,
    OK,
    PRECONDITION_ERROR,
    PRODUCT,
    SUM,
    Callback,
    Core,
    Tensor,
    failure,
)

CASES: dict[str, Callable[[Core, int], None]] = {}


def case(function: Callable[[Core, int], None]) -> Callable[[Core, int], None]:
    """Registers a case by its function's name."""
    CASES[function.__name__] = function
    return function


@case
def every_type_in_every_reduction(core: Core, rank: int) -> None:
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
            tensor = Tensor([1 + rank, 2, 3 * (rank + 1)], dtype)
            assert core.allreduce([tensor], f"{dtype}.{op}", op) == [([3], values)], (dtype, op)


@case
def many_elements_of_small_floats(core: Core, rank: int) -> None:
    """More than the eight at a time that processors with F16C do, and a remainder."""
    for dtype in ("float16", "bfloat16"):
        tensor = Tensor([(i % 8) * (rank + 1) for i in range(1003)], dtype)
        sums = [(i % 8) * 3 for i in range(1003)]
        assert core.allreduce([tensor], f"many.{dtype}") == [([1003], sums)]
        halves = [value / 2 for value in sums]
        assert core.allreduce([tensor], f"many.{dtype}", AVERAGE) == [([1003], halves)]


@case
def bool_is_any_and_all(core: Core, rank: int) -> None:
    values = [[True, False, True, False], [True, True, False, False]][rank]
    either, both = [True, True, True, False], [True, False, False, False]
    for op, wanted in ((SUM, either), (MAX, either), (MIN, both), (PRODUCT, both)):
        assert core.allreduce([Tensor(values, "bool")], f"bool.{op}", op) == [([4], wanted)]
    scattered = core.reducescatter([Tensor(values, "bool")], "bool.scatter")
    assert scattered == [([2], either[2 * rank : 2 * rank + 2])]
    error = failure(lambda: core.allreduce([Tensor(values, "bool")], "bool.average", AVERAGE))
    assert error.status == INVALID_ARGUMENT
    assert "average is not defined for bool" in str(error)


@case
def the_callers_buffer_is_written(core: Core, rank: int) -> None:
    tensor = Tensor([rank + 1.0, 10.0], to_own=True)
    assert core.allreduce([tensor], "own") == [([2], [3.0, 20.0])]
    assert tensor.out is not None
    assert tensor.out.raw == Tensor([3.0, 20.0]).data.raw
    assert tensor.data.raw == Tensor([rank + 1.0, 10.0]).data.raw


@case
def scales(core: Core, rank: int) -> None:
    assert core.allreduce([Tensor([rank + 1.0])], "scaled", SUM, 2.0, 0.5) == [([1], [3.0])]
    assert core.allreduce([Tensor([rank + 1.0])], "half", SUM, 0.5, 1.0) == [([1], [1.5])]


@case
def grouped_allreduce(core: Core, rank: int) -> None:
    tensors = [Tensor([rank]), Tensor([1.0] * 6, shape=(2, 3)), Tensor([rank + 1], "int32")]
    wanted = [([1], [1.0]), ([2, 3], [2.0] * 6), ([1], [3])]
    assert core.allreduce(tensors, "group") == wanted
    assert core.allreduce(tensors, None) == wanted


@case
def allgather_of_unequal_rows(core: Core, rank: int) -> None:
    rows = rank + 1
    tensor = Tensor([10.0 * rank + i for i in range(2 * rows)], shape=(rows, 2))
    wanted = [([3, 2], [0.0, 1.0, 10.0, 11.0, 12.0, 13.0])]
    assert core.run("allgather", [tensor], "gather", 0) == wanted
    for dtype in ("bool", "bfloat16", "int8"):
        got = core.run("allgather", [Tensor([rank] * rows, dtype)], f"gather.{dtype}", 0)
        assert got == [([3], [0, 1, 1])], dtype


@case
def grouped_allgather(core: Core, rank: int) -> None:
    tensors = [Tensor([rank]), Tensor([rank, rank], "int64", (1, 2))]
    wanted = [([2], [0.0, 1.0]), ([2, 2], [0, 0, 1, 1])]
    assert core.run("allgather", tensors, "gathers", 0) == wanted


@case
def broadcast_of_three(core: Core, rank: int) -> None:
    tensors = [Tensor([rank + 7.0]), Tensor([rank], "bool"), Tensor([rank] * 4, "bfloat16", (2, 2))]
    wanted = [([1], [8.0]), ([1], [True]), ([2, 2], [1.0] * 4)]
    assert core.run("broadcast", tensors, "from one", 1, 0) == wanted
    copied = Tensor([rank + 3.0], to_own=True)
    core.run("broadcast", [copied], "copied", 0, 0)
    assert copied.out is not None
    assert copied.out.raw == Tensor([3.0]).data.raw


@case
def alltoall_with_splits(core: Core, rank: int) -> None:
    tensor = Tensor([10.0 * rank + i for i in range(3)])
    splits = [[1, 2], [3, 0]][rank]
    handle = core.start("alltoall", [tensor], "to all", splits, 0)
    assert core.wait(handle) == OK
    got, count = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_int()
    status = core.lib.horovod_received_splits(
        ctypes.c_int64(handle), 0, ctypes.byref(got), ctypes.byref(count)
    )
    assert (status, got[: count.value]) == (OK, [[1, 3], [2, 0]][rank])
    wanted = [([4], [0.0, 10.0, 11.0, 12.0]), ([2], [1.0, 2.0])][rank]
    assert core.finish(handle, [tensor]) == [wanted]
    even = Tensor([rank * 4.0 + i for i in range(4)], shape=(2, 2))
    got = core.run("alltoall", [even], "evenly", None, 0)
    assert got == [([2, 2], [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]][rank])]


@case
def reducescatter_of_three_rows(core: Core, rank: int) -> None:
    for dtype in ("float32", "bfloat16", "int64"):
        tensor = Tensor([1 + rank, 2, 3, 4, 5, 6], dtype, (3, 2))
        wanted = [([2, 2], [3, 4, 6, 8]), ([1, 2], [10, 12])][rank]
        assert core.reducescatter([tensor], f"scatter.{dtype}") == [wanted], dtype
    tensors = [Tensor([2.0, 4.0]), Tensor([6.0, 8.0])]
    wanted = [([1], [2.0 + 2 * rank]), ([1], [6.0 + 2 * rank])]
    assert core.reducescatter(tensors, "scatters", AVERAGE) == wanted


@case
def empty_and_without_dimensions(core: Core, rank: int) -> None:
    assert core.allreduce([Tensor([], shape=(0, 3))], "empty") == [([0, 3], [])]
    assert core.allreduce([Tensor([rank + 1.0], shape=())], "scalar") == [([], [3.0])]
    assert core.run("broadcast", [Tensor([], shape=(0,))], "empty from", 0, 0) == [([0], [])]
    assert core.run("broadcast", [Tensor([rank], shape=())], "scalar from", 1, 0) == [([], [1.0])]
    rows = Tensor([5.0] * rank, shape=(rank, 1))
    assert core.run("allgather", [rows], "empty rows", 0) == [([1, 1], [5.0])]
    assert core.run("allgather", [Tensor([], shape=(0,))], "no rows", 0) == [([0], [])]
    assert core.run("alltoall", [Tensor([])], "none to all", None, 0) == [([0], [])]
    assert core.reducescatter([Tensor([])], "none scattered") == [([0], [])]
    for operation, rest in (("allgather", (0,)), ("reducescatter", (SUM, 0))):
        scalar = [Tensor([1.0], shape=())]
        if operation == "allgather":
            error = failure(lambda s=scalar: core.run("allgather", s, "scalars", 0))
        else:
            error = failure(lambda s=scalar: core.reducescatter(s, "scalars scattered"))
        assert "rank-zero tensor" in str(error), (operation, rest)
    error = failure(lambda: core.run("alltoall", [Tensor([1.0], shape=())], "s", None, 0))
    assert "without dimensions" in str(error)


@case
def ranks_that_disagree_are_both_told(core: Core, rank: int) -> None:
    def told(call: Callable[[], object], *words: str) -> None:
        error = failure(call)
        assert error.status == PRECONDITION_ERROR
        assert all(word in str(error) for word in words), error

    mine = Tensor([0.0] * (2 + rank))
    told(lambda: core.allreduce([mine], "shape"), "[2]", "[3]")
    mine = Tensor([0], ["int32", "float64"][rank])
    told(lambda: core.allreduce([mine], "type"), "int32", "float64")
    one = [Tensor([1.0])]
    if rank == 0:
        told(lambda: core.allreduce(one, "operation"), "ALLREDUCE", "ALLGATHER")
    else:
        told(lambda: core.run("allgather", one, "operation", 0), "ALLREDUCE", "ALLGATHER")
    told(lambda: core.allreduce(one, "reduction", [SUM, MAX][rank]), "sum", "max")
    told(lambda: core.run("broadcast", one, "root", rank, 0), "root rank 0", "root rank 1")
    wide = Tensor([0.0] * 6, shape=[(2, 3), (3, 2)][rank])
    told(lambda: core.run("allgather", [wide], "columns", 0), "equal to 3", "equal to 2")
    told(lambda: core.allreduce(one, "factor", SUM, 1.0 + rank), "(1, 1)", "(2, 1)")


@case
def a_cached_operation_that_changes(core: Core, rank: int) -> None:
    """The second time ranks agree by a short way that must notice too."""
    for _ in range(3):
        assert core.allreduce([Tensor([1.0, 2.0])], "cached") == [([2], [2.0, 4.0])]
    error = failure(lambda: core.allreduce([Tensor([1.0] * (2 + rank))], "cached"))
    assert "[2]" in str(error)
    assert "[3]" in str(error)
    assert core.allreduce([Tensor([1.0, 2.0])], "cached") == [([2], [2.0, 4.0])]
    error = failure(lambda: core.allreduce([Tensor([1.0, 2.0])], "cached", [SUM, MIN][rank]))
    assert "min" in str(error)


@case
def different_names_wait_and_do_not_block(core: Core, rank: int) -> None:
    names = ["mine", "yours"] if rank == 0 else ["yours", "mine"]
    tensor = Tensor([1.0])
    ones = (ctypes.c_double(1.0), ctypes.c_double(1.0))
    first = core.start("allreduce", [tensor], names[0], SUM, *ones, 0)
    assert core.wait(first, 0.2) == IN_PROGRESS
    assert core.lib.horovod_poll(ctypes.c_int64(first)) == 0
    core.barrier()  # a slow rank must not find the other's second one
    second = core.start("allreduce", [tensor], names[1], SUM, *ones, 0)
    assert core.finish(second, [tensor]) == [([1], [2.0])]
    assert core.finish(first, [tensor]) == [([1], [2.0])]


@case
def a_name_in_use(core: Core, rank: int) -> None:
    tensor = Tensor([1.0])
    ones = (ctypes.c_double(1.0), ctypes.c_double(1.0))
    if rank == 0:
        first = core.start("allreduce", [tensor], "used_2of2", SUM, *ones, 0)
        error = failure(lambda: core.start("allreduce", [tensor] * 2, "used", SUM, *ones, 0))
        assert error.status == INVALID_ARGUMENT
        assert "same name" in str(error)
        core.barrier()
        core.finish(first, [tensor])
    else:
        core.barrier()
        core.allreduce([tensor], "used_2of2")


@case
def join_with_unequal_nameless_operations(core: Core, rank: int) -> None:
    for step in range([3, 1][rank]):
        got = core.allreduce([Tensor([rank + 1.0])], None)
        assert got == [([1], [3.0 if step == 0 else 1.0])]
    handle = core.checked(core.lib.horovod_join(-1, 0))
    assert core.wait(handle) == OK
    assert core.output(handle, 0, "int32") == ([], [0])
    core.lib.horovod_release(ctypes.c_int64(handle))
    # Upstream's names go on where each rank was, so these would wait for ever.
    assert core.allreduce([Tensor([rank + 1.0])], None) == [([1], [3.0])]
    assert core.run("allgather", [Tensor([rank])], None, 0) == [([2], [0.0, 1.0])]


@case
def callbacks(core: Core, rank: int) -> None:
    calls = []
    callback = Callback(lambda handle, status, message, _: calls.append((handle, status, message)))
    tensor = Tensor([1.0])
    ones = (ctypes.c_double(1.0), ctypes.c_double(1.0))
    handle = core.start("allreduce", [tensor], "then", SUM, *ones, 0)
    assert core.lib.horovod_then(ctypes.c_int64(handle), callback, None) == OK
    assert core.wait(handle) == OK
    core.barrier()
    assert calls == [(handle, OK, b"")]
    assert core.lib.horovod_then(ctypes.c_int64(handle), callback, None) == OK
    assert len(calls) == 2
    core.lib.horovod_release(ctypes.c_int64(handle))
    handle = core.start("allreduce", [Tensor([0.0] * (1 + rank))], "then not", SUM, *ones, 0)
    core.wait(handle)
    core.lib.horovod_then(ctypes.c_int64(handle), callback, None)
    assert calls[2][1] == PRECONDITION_ERROR
    assert b"[1]" in calls[2][2]
    core.lib.horovod_release(ctypes.c_int64(handle))


@case
def taken_outputs_outlive_the_handle(core: Core, rank: int) -> None:
    tensor = Tensor([rank + 1.0, 2.0])
    handle = core.start("allgather", [tensor], "taken", 0)
    assert core.wait(handle) == OK
    data = core.lib.horovod_take(ctypes.c_int64(handle), 0)
    assert data
    assert data % 64 == 0
    assert core.lib.horovod_take(ctypes.c_int64(handle), 0) is None
    core.lib.horovod_release(ctypes.c_int64(handle))
    assert list((ctypes.c_float * 4).from_address(data)) == [1.0, 2.0, 2.0, 2.0]
    core.lib.horovod_free(ctypes.c_void_p(data))


@case
def handles_that_are_none(core: Core, rank: int) -> None:
    for unknown in (0, -3, 10**12):
        assert core.wait(unknown) == INVALID_ARGUMENT
        assert str(unknown) in core.last_error()
        assert core.lib.horovod_poll(ctypes.c_int64(unknown)) == -INVALID_ARGUMENT
        assert core.lib.horovod_release(ctypes.c_int64(unknown)) == INVALID_ARGUMENT
    ones = (ctypes.c_double(1.0), ctypes.c_double(1.0))
    tensor = Tensor([1.0])
    handle = core.start("allreduce", [tensor], "released early", SUM, *ones, 0)
    assert core.lib.horovod_release(ctypes.c_int64(handle)) == OK
    core.barrier()
    handle = core.start("allreduce", [Tensor([0.0] * (1 + rank))], "finish", SUM, *ones, 0)
    status = core.lib.horovod_finish(ctypes.c_int64(handle), ctypes.c_double(60))
    assert status == PRECONDITION_ERROR
    assert "[1]" in core.last_error()
    assert core.wait(handle) == INVALID_ARGUMENT


@case
def arguments_that_cannot_be(core: Core, rank: int) -> None:
    tensor = Tensor([1.0])
    bad = Tensor([1.0])
    bad.shape = [-1]
    bad._shape = (ctypes.c_int64 * 1)(-1)
    assert "is -1" in str(failure(lambda: core.allreduce([bad], "negative")))
    array = (ctypes.c_char * 64)()
    assert core.lib.horovod_allreduce(array, 0, b"none", SUM, *[ctypes.c_double(1)] * 2, 0) < 0
    assert "at least one tensor" in core.last_error()
    error = failure(lambda: core.allreduce([tensor], "set", process_set=77))
    assert "77" in str(error)
    error = failure(lambda: core.allreduce([tensor], "reduction 9", 9))
    assert "reduction 9" in str(error)
    error = failure(lambda: core.run("alltoall", [tensor], "splits", [1, 2, 3], 0))
    assert "needs 2 splits, not 3" in str(error)
    error = failure(lambda: core.run("broadcast", [tensor], "no root", 5, 0))
    assert "root rank 5" in str(error)


@case
def stopped_and_started_again(core: Core, rank: int) -> None:
    core.allreduce([Tensor([1.0])], None)
    core.lib.horovod_shutdown()
    error = failure(lambda: core.allreduce([Tensor([1.0])], "after"))
    assert "not been initialized" in str(error)
    assert core.rank == -1
    core.init()
    assert core.rank == rank
    assert core.allreduce([Tensor([rank + 1.0])], None) == [([1], [3.0])]


def main(library: str, report: str, *only: str) -> None:
    """Runs the cases in order; a failure of one is noted and the next is run."""
    core = Core(library)
    core.init()
    rank = core.rank
    results = {"mpi": str(core.lib.horovod_mpi_enabled())}
    for name, function in CASES.items():
        if only and name not in only:
            continue
        try:
            function(core, rank)
            results[name] = "ok"
        except Exception:
            results[name] = traceback.format_exc()
        with open(f"{report}.{rank}", "w", encoding="utf-8") as file:
            json.dump(results, file)
    core.lib.horovod_shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
