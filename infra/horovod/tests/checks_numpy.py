"""Checks of horovod.numpy on real ranks, against values known for any size."""

from __future__ import annotations

import functools
import sys
import threading

import horovod.numpy as hvd
import numpy as np
from rank_checks import error_of, must_fail

NUMBERS = ["uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64"]


def start() -> int:
    """Starts Horovod; the rank."""
    hvd.init()
    return hvd.rank()


def mine(dtype="float32", shape=(2, 3)) -> np.ndarray:
    """Rank-coded values: 1 on rank 0, 2 on rank 1, ..."""
    return np.full(shape, hvd.rank() + 1, dtype)


def total() -> int:
    return hvd.size() * (hvd.size() + 1) // 2


def same(array: np.ndarray, expected: np.ndarray) -> None:
    expected = np.asarray(expected)
    assert isinstance(array, np.ndarray)
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(array, expected), (array, expected)


def check_no_framework_is_loaded() -> None:
    loaded = {"torch", "tensorflow", "jax", "keras", "mpi4py"} & set(sys.modules)
    assert not loaded, loaded


def check_sum_of_every_type() -> None:
    for dtype in NUMBERS:
        same(hvd.allreduce(mine(dtype), op=hvd.Sum), np.full((2, 3), total(), dtype))


@must_fail(AssertionError)
def check_control_a_wrong_sum_is_seen() -> None:
    same(hvd.allreduce(mine(), op=hvd.Sum), np.full((2, 3), total() + 1, "float32"))


def check_other_reductions() -> None:
    n = hvd.size()
    same(hvd.allreduce(mine("float64")), np.full((2, 3), (n + 1) / 2))
    same(hvd.allreduce(mine(), op=hvd.Max), np.full((2, 3), n, "float32"))
    same(hvd.allreduce(mine("int64"), op=hvd.Min), np.ones((2, 3), "int64"))
    same(hvd.allreduce(np.array([hvd.rank() == 0, False]), op=hvd.Sum), np.array([True, False]))
    scaled = hvd.allreduce(mine("float64"), op=hvd.Sum, prescale_factor=0.5, postscale_factor=4.0)
    same(scaled, np.full((2, 3), total() * 2.0))


def check_what_asarray_takes() -> None:
    same(hvd.allreduce(3.0, op=hvd.Sum), np.asarray(3.0 * hvd.size()))
    same(hvd.allreduce([1, 2], op=hvd.Sum), np.array([1, 2]) * hvd.size())
    swapped = mine("float64").astype(">f8")
    same(hvd.allreduce(swapped, op=hvd.Sum), np.full((2, 3), float(total())))
    fixed = mine()
    fixed.flags.writeable = False
    same(hvd.allreduce(fixed, op=hvd.Sum), np.full((2, 3), total(), "float32"))


def check_every_layout() -> None:
    base = np.arange(24.0).reshape(2, 3, 4)
    for view in (base.T, base[:, ::2], base[..., 1], np.asfortranarray(base), base[::-1]):
        same(hvd.allreduce(view * 1.0, op=hvd.Sum), view * hvd.size())
        same(hvd.broadcast(view, 0), view)
    same(hvd.allreduce(np.empty((0, 3)), op=hvd.Sum), np.empty((0, 3)))


def check_gather_broadcast_and_scatter() -> None:
    n, r = hvd.size(), hvd.rank()
    ranks = np.repeat(np.arange(n), np.arange(n) + 1)
    same(hvd.allgather(np.full(r + 1, r)), ranks)
    same(hvd.broadcast(mine(), n - 1), np.full((2, 3), n, "float32"))
    rows, received = hvd.alltoall(np.arange(n) * 10 + r)
    same(rows, r * 10 + np.arange(n))
    same(received, np.ones(n, "int32"))
    rows, received = hvd.alltoall(np.full(n * (n + 1) // 2, r), splits=np.arange(n) + 1)
    same(rows, np.repeat(np.arange(n), r + 1))
    same(received, np.full(n, r + 1, "int32"))
    part = hvd.reducescatter(np.arange(2.0 * n) * (r + 1), op=hvd.Sum)
    same(part, np.arange(2.0 * n)[2 * r : 2 * r + 2] * total())


def check_groups_and_handles() -> None:
    arrays = [mine(shape=(i + 1,)) for i in range(3)]
    handle = hvd.grouped_allreduce_async(arrays, op=hvd.Sum)
    for i, result in enumerate(hvd.synchronize(handle)):
        same(result, np.full(i + 1, total(), "float32"))
    assert "waited for" in error_of(ValueError, lambda: hvd.synchronize(handle))
    gathered = hvd.grouped_allgather(arrays)
    same(gathered[1], np.repeat(np.arange(1, hvd.size() + 1), 2).astype("float32"))
    assert len(hvd.grouped_reducescatter([np.ones(hvd.size())] * 2)) == 2


def check_a_gathered_array_outlives_its_parent() -> None:
    view = hvd.allgather(np.full(100_000, hvd.rank()))[-3:]
    hvd.allgather(np.zeros(100_000))
    same(view, np.full(3, hvd.size() - 1))


def check_objects_join_and_barrier() -> None:
    assert hvd.broadcast_object([hvd.rank()], 0) == [0]
    assert hvd.allgather_object({"rank": hvd.rank()})[-1] == {"rank": hvd.size() - 1}
    hvd.barrier()
    for _ in range(hvd.rank()):
        hvd.allreduce(np.ones(2), op=hvd.Sum)
    assert hvd.join() == hvd.size() - 1
    same(hvd.allreduce(mine(), op=hvd.Sum), np.full((2, 3), total(), "float32"))


def check_process_sets() -> None:
    hvd.shutdown()
    last = hvd.ProcessSet([hvd_size() - 1])
    hvd.init(process_sets=[last])
    if last.included():
        same(hvd.allreduce(mine(), op=hvd.Sum, process_set=last), mine())
        assert hvd.allgather_object("x", process_set=last) == ["x"]
    same(hvd.allreduce(mine(), op=hvd.Sum), np.full((2, 3), total(), "float32"))
    unknown = hvd.ProcessSet([0])
    text = error_of(ValueError, functools.partial(hvd.barrier, unknown))
    assert "not registered" in text


def hvd_size() -> int:
    """The size while Horovod is stopped."""
    hvd.init()
    size = hvd.size()
    hvd.shutdown()
    return size


def check_bad_input() -> None:
    for wrong, word in ((np.zeros(1, "complex64"), "complex64"), (np.array(["a"]), "<U1")):
        text = error_of(ValueError, functools.partial(hvd.allreduce, wrong))
        assert word in text
        assert "\n" not in text
    mismatched = functools.partial(hvd.allreduce, np.ones(2 + (hvd.rank() == 0)), name="shape")
    assert "ismatch" in error_of(hvd.HorovodInternalError, mismatched)


def check_threads() -> None:
    problems: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for i in range(50):
                name = f"thread.{thread}.{i}"
                result = hvd.allreduce(mine(shape=(thread + 1,)), name=name, op=hvd.Sum)
                same(result, np.full(thread + 1, total(), "float32"))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[0]
