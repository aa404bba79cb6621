"""Checks of horovod.torch's operations on real ranks, against values known for any size."""

from __future__ import annotations

import functools
import gc
import threading

import horovod.torch as hvd
import torch
from rank_checks import error_of, must_fail

NUMBERS = [
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
]  # fmt: skip


def start() -> int:
    """Starts Horovod; the rank."""
    hvd.init()
    return hvd.rank()


def mine(dtype=torch.float32, shape=(2, 3)) -> torch.Tensor:
    """Rank-coded values: 1 on rank 0, 2 on rank 1, ..."""
    return torch.full(shape, hvd.rank() + 1, dtype=dtype)


def total() -> int:
    """1 + 2 + ... + size."""
    return hvd.size() * (hvd.size() + 1) // 2


def same(tensor: torch.Tensor, expected: torch.Tensor) -> None:
    assert tensor.dtype == expected.dtype, (tensor.dtype, expected.dtype)
    assert tensor.shape == expected.shape, (tensor.shape, expected.shape)
    assert torch.equal(tensor, expected), (tensor, expected)


def check_sum_of_every_type() -> None:
    for dtype in NUMBERS:
        same(hvd.allreduce(mine(dtype), op=hvd.Sum), torch.full((2, 3), total(), dtype=dtype))


@must_fail(AssertionError)
def check_control_a_wrong_sum_is_seen() -> None:
    same(hvd.allreduce(mine(), op=hvd.Sum), torch.full((2, 3), total() + 1.0))


def check_average_min_max_and_product() -> None:
    n = hvd.size()
    same(hvd.allreduce(mine()), torch.full((2, 3), (n + 1) / 2))
    same(hvd.allreduce(mine(), op=hvd.Min), torch.full((2, 3), 1.0))
    same(hvd.allreduce(mine(), op=hvd.Max), torch.full((2, 3), float(n)))
    product = float(torch.arange(1, n + 1).prod())
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.int64):
        result = hvd.allreduce(mine(dtype), op=hvd.Product)
        same(result, torch.full((2, 3), product, dtype=dtype))


def check_bool_is_any_and_all() -> None:
    first = torch.tensor([hvd.rank() == 0, True, False])
    same(hvd.allreduce(first, op=hvd.Sum), torch.tensor([True, True, False]))
    same(hvd.allreduce(first, op=hvd.Max), torch.tensor([True, True, False]))
    expected = torch.tensor([hvd.size() == 1, True, False])
    same(hvd.allreduce(first, op=hvd.Min), expected)
    same(hvd.allreduce(first, op=hvd.Product), expected)


def check_bool_and_bfloat16_travel() -> None:
    flags = torch.tensor([[hvd.rank() == 0, True]])
    rows = [[rank == 0, True] for rank in range(hvd.size())]
    same(hvd.allgather(flags), torch.tensor(rows))
    same(hvd.broadcast(flags, 0), torch.tensor([[True, True]]))
    numbers = mine(torch.bfloat16, (1, 2))
    expected = [[rank + 1.0] * 2 for rank in range(hvd.size())]
    same(hvd.allgather(numbers), torch.tensor(expected, dtype=torch.bfloat16))
    same(hvd.broadcast(numbers, 0), torch.ones(1, 2, dtype=torch.bfloat16))


def check_complex_numbers() -> None:
    n, r = hvd.size(), hvd.rank()
    for dtype in (torch.complex64, torch.complex128):
        own = mine(dtype) + 1j * r
        summed = torch.full((2, 3), complex(total(), total() - n), dtype=dtype)
        same(hvd.allreduce(own, op=hvd.Sum), summed)
        same(hvd.allreduce(own), summed / n)
        same(hvd.allreduce(own.conj(), op=hvd.Sum), summed.conj())
        same(hvd.broadcast(own, n - 1), torch.full((2, 3), complex(n, n - 1), dtype=dtype))
        rows = torch.tensor([complex(rank + 1, rank) for rank in range(n)], dtype=dtype)
        same(hvd.allgather(own[0, :1]), rows)
        same(hvd.alltoall(own[0, :1].repeat(n)), rows)
        part = hvd.reducescatter(own[:1].repeat(n, 1), op=hvd.Sum)
        same(part, summed[:1])
        same(hvd.allreduce_(own.t(), op=hvd.Sum), summed.t())
        same(own, summed)


@must_fail(ValueError)
def check_control_a_maximum_of_complex_numbers() -> None:
    hvd.allreduce(mine(torch.complex64), op=hvd.Max)


def check_types_that_are_only_moved() -> None:
    n = hvd.size()
    for dtype in (torch.float8_e5m2, torch.uint32, torch.uint64):
        own = mine(shape=(1, 2)).to(dtype)
        rows = torch.tensor([[rank + 1.0] * 2 for rank in range(n)]).to(dtype)
        assert torch.equal(hvd.allgather(own).float(), rows.float())
        assert torch.equal(hvd.broadcast(own, n - 1).float(), rows[-1:].float())
        assert own.float().tolist() == [[hvd.rank() + 1.0] * 2]


def check_a_view_of_opposite_sign() -> None:
    own = torch._neg_view(mine())
    same(hvd.allreduce(own, op=hvd.Sum), torch.full((2, 3), -float(total())))
    hvd.broadcast_(own, hvd.size() - 1)
    same(own.resolve_neg(), torch.full((2, 3), -float(hvd.size())))


def check_scaling() -> None:
    same(hvd.allreduce(mine(), op=hvd.Sum, prescale_factor=0.5), torch.full((2, 3), total() / 2))
    scaled = hvd.allreduce(mine(), op=hvd.Sum, postscale_factor=3.0)
    same(scaled, torch.full((2, 3), total() * 3.0))


def check_in_place_of_every_layout() -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    for view in (
        lambda t: t.transpose(0, 2),
        lambda t: t[:, ::2],
        lambda t: t[..., 1],
        lambda t: t.permute(1, 2, 0),
    ):
        tensor = base.clone() * (hvd.rank() + 1)
        untouched = base.clone() * (hvd.rank() + 1)
        result = hvd.allreduce_(view(tensor), op=hvd.Sum)
        view(untouched).copy_(view(base) * total())
        same(tensor, untouched)  # what is beside the view stays
        same(result, view(base) * total())


def check_channels_last() -> None:
    values = torch.arange(48.0).reshape(2, 3, 2, 4)
    tensor = (values * (hvd.rank() + 1)).contiguous(memory_format=torch.channels_last)
    same(hvd.allreduce(tensor, op=hvd.Sum), values * total())
    hvd.broadcast_(tensor, 0)
    same(tensor, values)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    # One rank has another layout than the others.
    if hvd.rank() == 0:
        tensor = tensor.contiguous()
    same(hvd.allreduce(tensor, op=hvd.Sum), values * hvd.size())


def check_zero_size_and_zero_dimensions() -> None:
    same(hvd.allreduce(torch.empty(0, 3), op=hvd.Sum), torch.empty(0, 3))
    same(hvd.broadcast(torch.empty(0), 0), torch.empty(0))
    same(hvd.allgather(torch.empty(0, 2)), torch.empty(0, 2))
    same(hvd.allreduce(torch.tensor(hvd.rank() + 1), op=hvd.Sum), torch.tensor(total()))
    same(hvd.broadcast(torch.tensor(hvd.rank() + 7), 0), torch.tensor(7))
    rows = torch.ones(hvd.rank(), 2)  # none on rank 0
    same(hvd.allgather(rows), torch.ones(sum(range(hvd.size())), 2))


def check_gather_of_unequal_rows() -> None:
    rows = torch.full((hvd.rank() + 1, 2), float(hvd.rank()))
    ranks = [rank for rank in range(hvd.size()) for _ in range(rank + 1)]
    same(hvd.allgather(rows), torch.tensor(ranks, dtype=torch.float32)[:, None].expand(-1, 2))


def check_gathered_memory_outlives_its_handle() -> None:
    views = [hvd.allgather(torch.full((1, 1000), float(i)))[0] for i in range(50)]
    gc.collect()
    for i, view in enumerate(views):
        same(view, torch.full((1000,), float(i)))


def check_alltoall() -> None:
    n, r = hvd.size(), hvd.rank()
    sent = torch.arange(n) * 10 + r
    same(hvd.alltoall(sent), torch.tensor([r * 10 + other for other in range(n)]))
    splits = torch.tensor([to + 1 for to in range(n)], dtype=torch.int32)
    values, received = hvd.alltoall(torch.full((int(splits.sum()),), float(r)), splits)
    same(received, torch.full((n,), r + 1, dtype=torch.int32))
    same(values, torch.arange(float(n)).repeat_interleave(r + 1))


def check_reducescatter() -> None:
    n, r = hvd.size(), hvd.rank()
    rows = torch.arange(float(2 * n + 1)).reshape(-1, 1) * (r + 1)
    whole = torch.arange(float(2 * n + 1)).reshape(-1, 1) * total()
    start = 0 if r == 0 else 3 + 2 * (r - 1)  # rank 0 has the row that is left over
    same(hvd.reducescatter(rows, op=hvd.Sum), whole[start : start + (3 if r == 0 else 2)])


def check_groups() -> None:
    tensors = [mine(shape=(i + 1,)) for i in range(3)]
    for i, result in enumerate(hvd.grouped_allreduce(tensors, op=hvd.Sum)):
        same(result, torch.full((i + 1,), float(total())))
    for i, result in enumerate(hvd.grouped_allgather(tensors)):
        ranks = torch.arange(1.0, hvd.size() + 1).repeat_interleave(i + 1)
        same(result, ranks)
    hvd.grouped_allreduce_(tensors, op=hvd.Max)
    same(tensors[2], torch.full((3,), float(hvd.size())))


@must_fail(ValueError)
def check_control_an_empty_group() -> None:
    hvd.grouped_allreduce([])


def check_operations_of_different_kinds_share_a_name() -> None:
    first = hvd.allreduce_async(mine(), name="same", op=hvd.Sum)
    second = hvd.broadcast_async(mine(), 0, name="same")
    third = hvd.allgather_async(mine(), name="same")
    same(hvd.synchronize(first), torch.full((2, 3), float(total())))
    same(hvd.synchronize(second), torch.ones(2, 3))
    assert hvd.synchronize(third).shape == (2 * hvd.size(), 3)


def check_handles_in_any_order() -> None:
    order = list(range(20)) if hvd.rank() % 2 == 0 else list(reversed(range(20)))
    handles = {
        i: hvd.allreduce_async(mine(shape=(i + 1,)), name=f"order.{i}", op=hvd.Sum) for i in order
    }
    for i in range(20):
        same(hvd.synchronize(handles[i]), torch.full((i + 1,), float(total())))
        assert hvd.synchronize(handles[i]) is None


def check_tensors_live_until_done() -> None:
    handles = [
        hvd.allreduce_async_(mine(shape=(5000,)), name=f"live.{i}", op=hvd.Sum) for i in range(50)
    ]
    gc.collect()
    torch.full((50, 5000), -1.0)  # would take the memory of tensors that were freed
    for handle in handles:
        same(hvd.synchronize(handle), torch.full((5000,), float(total())))


def check_gradients() -> None:
    n, r = hvd.size(), hvd.rank()
    x = mine().requires_grad_()
    hvd.allreduce(x, op=hvd.Sum).sum().backward()
    same(x.grad, torch.full((2, 3), float(n)))
    x = mine().requires_grad_()
    (hvd.allgather(x) * (r + 1)).sum().backward()
    same(x.grad, torch.full((2, 3), (n + 1) / 2))
    x = mine().requires_grad_()
    hvd.broadcast(x, 0).sum().backward()
    same(x.grad, torch.full((2, 3), 1.0 if r == 0 else 0.0))
    x = torch.ones(n, 2).requires_grad_()
    (hvd.alltoall(x) * (r + 1)).sum().backward()
    same(x.grad, torch.arange(1.0, n + 1)[:, None].expand(n, 2))
    x = torch.ones(n, 2).requires_grad_()
    hvd.reducescatter(x, op=hvd.Sum).sum().backward()
    same(x.grad, torch.full((n, 2), float(n)))


def check_a_gradient_is_not_changed_by_reducescatter() -> None:
    x = torch.ones(hvd.size(), 2).requires_grad_()
    given = torch.ones(1, 2)
    hvd.reducescatter(x, op=hvd.Sum, prescale_factor=2.0).backward(given)
    same(given, torch.ones(1, 2))


@must_fail(NotImplementedError)
def check_control_a_maximum_has_no_gradient() -> None:
    hvd.allreduce(mine().requires_grad_(), op=hvd.Max).sum().backward()


def check_sparse() -> None:
    n, r = hvd.size(), hvd.rank()
    indices = torch.tensor([[0, r + 1]])
    sparse = torch.sparse_coo_tensor(indices, torch.ones(2, 3) * (r + 1), (n + 1, 3))
    result = hvd.sparse_allreduce_async(sparse, "sparse", hvd.Sum)()
    expected = torch.zeros(n + 1, 3)
    expected[0] = total()
    expected[1:] = torch.arange(1.0, n + 1)[:, None]
    same(result.to_dense(), expected)
    nowhere = torch.empty(1, 0, dtype=torch.int64)
    none = torch.sparse_coo_tensor(nowhere, torch.empty(0, 3), (n + 1, 3))
    given = sparse if r == 0 else none
    result = hvd.synchronize(hvd.sparse_allreduce_async(given, "sparse", hvd.Average))
    same(result.to_dense()[:2], torch.full((2, 3), 1.0 / n))


def check_fp16_compression() -> None:
    result = hvd.allreduce(mine(), op=hvd.Sum, compression=hvd.Compression.fp16)
    same(result, torch.full((2, 3), float(total())))


def check_objects() -> None:
    n, r = hvd.size(), hvd.rank()
    assert hvd.broadcast_object({"rank": r, "size": [n]}, n - 1) == {"rank": n - 1, "size": [n]}
    assert hvd.allgather_object("x" * r) == ["x" * rank for rank in range(n)]
    assert hvd.allgather_object(None) == [None] * n
    # What the others give has no effect, so it may be of another type.
    assert hvd.broadcast_object({"epoch": 3} if r == 0 else None) == {"epoch": 3}
    assert hvd.allgather_object(1 if r == 0 else "one") == [1] + ["one"] * (n - 1)


def check_what_is_no_tensor() -> None:
    for value in (1.0, [1, 2], None):
        for function in (hvd.allreduce, hvd.allgather, hvd.alltoall, hvd.allreduce_async):
            assert "as_tensor" in error_of(TypeError, functools.partial(function, value))


def check_objects_in_pieces() -> None:
    from horovod.common import objects

    whole, objects.PIECE_BYTES = objects.PIECE_BYTES, 1000
    try:
        n, r = hvd.size(), hvd.rank()
        text = hvd.broadcast_object(bytes(range(256)) * 40 if r == 0 else b"", 0)
        assert text == bytes(range(256)) * 40
        gathered = hvd.allgather_object(bytes([r]) * (5000 * r + 1))
        assert gathered == [bytes([rank]) * (5000 * rank + 1) for rank in range(n)]
    finally:
        objects.PIECE_BYTES = whole


def check_join_and_barrier() -> None:
    hvd.barrier()
    r = hvd.rank()
    for _ in range(r):  # unequal counts of nameless operations
        hvd.allreduce(torch.ones(2), op=hvd.Sum)
    assert hvd.join() == hvd.size() - 1
    # Afterwards nameless operations agree again.
    same(hvd.allreduce(mine(), op=hvd.Sum), torch.full((2, 3), float(total())))


def check_threads() -> None:
    problems = []

    def work(thread: int) -> None:
        try:
            for i in range(100):
                tensor = mine(shape=(thread + 1,))
                result = hvd.allreduce(tensor, name=f"thread.{thread}.{i}", op=hvd.Sum)
                same(result, torch.full((thread + 1,), float(total())))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[0]


def check_torch_compile_breaks_the_graph() -> None:
    @torch.compile(backend="eager")
    def step(x):
        x = x * 2
        x = hvd.allreduce(x, name="compiled", op=hvd.Sum)
        rows = hvd.allgather(x[:1])
        return (x + 1).sum() + rows.sum()

    for i in range(3):
        x = torch.full((2, 2), float(hvd.rank() + i))
        summed = 2.0 * sum(rank + i for rank in range(hvd.size()))
        assert float(step(x)) == (summed + 1) * 4 + summed * 2 * hvd.size()


def check_unsupported_arguments() -> None:
    for wrong, word in (
        (torch.zeros(2, dtype=torch.uint32), "uint32"),
        (torch.zeros(2, device="meta"), "device meta"),
        (torch.zeros(2).to_sparse(), "sparse"),
    ):
        text = error_of(ValueError, functools.partial(hvd.allreduce, wrong))
        assert word in text
        assert "\n" not in text


def check_disagreement_names_both() -> None:
    """Different shapes, types and operations are an error on all ranks, and nothing hangs."""
    r = hvd.rank()
    for start_one in (
        lambda: hvd.allreduce(torch.ones(2 + (r == 0)), name="wrong.shape"),
        lambda: hvd.allreduce(mine((torch.float32, torch.int64)[r == 0]), name="wrong.type"),
        lambda: hvd.allgather(torch.ones(1, 2 + (r == 0)), name="wrong.columns"),
        lambda: hvd.broadcast(torch.ones(2), int(r == 0), name="wrong.root"),
    ):
        assert "ismatch" in error_of(hvd.HorovodInternalError, start_one)
    same(hvd.allreduce(mine(), op=hvd.Sum), torch.full((2, 3), float(total())))


def check_shut_down_and_start_again() -> None:
    for _ in range(3):
        size, rank = hvd.size(), hvd.rank()
        hvd.shutdown()
        assert not hvd.is_initialized()
        error_of(hvd.HorovodInternalError, lambda: hvd.allreduce(torch.ones(1)))
        hvd.init()
        assert (hvd.size(), hvd.rank()) == (size, rank)
        same(hvd.allreduce(mine(), op=hvd.Sum), torch.full((2, 3), float(total())))
