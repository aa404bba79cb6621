"""One rank with no launcher: what needs no other rank to show."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hvdcore.torch as hvt
from hvdcore.errors import UserError
from hvdcore.torch import profile, sharded
from hvdcore.torch.sharded import MAX_SUMS, pack_extras
from hvdcore.torch.topology import is_hierarchical


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[Any]:
    yield hvt.init()
    hvt.shutdown()


def test_a_job_started_from_here_chooses_its_own_controller() -> None:
    """What Horovod needs to start alone would make each rank of a later job a job of its own."""
    left = {"HOROVOD_CONTROLLER", "HOROVOD_CPU_OPERATIONS"} & os.environ.keys()
    assert hvt.init().controller == "none"
    assert not left


def test_ranks_that_started_as_separate_jobs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(UserError, match=r"started 4 ranks, but .* a job of 1.* unset HOROVOD_"):
        hvt.init()


def sgd(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for _, p in named], lr=1.0, momentum=0.9)


def ones_model() -> nn.Linear:
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    return model


def test_clipping_scales_to_the_norm() -> None:
    model = ones_model()
    optimizer = hvt.ShardedOptimizer(model, sgd, clip_norm=1.0)
    optimizer.zero_grad()
    (model.weight * torch.tensor([[3.0, 4.0]])).sum().backward()
    assert optimizer.step().gradient_norm == 5.0
    assert model.weight.tolist() == [[pytest.approx(1 - 0.6), pytest.approx(1 - 0.8)]]


def test_bytes_that_a_step_sends() -> None:
    """Two tensors of 2 and 20 numbers, each on a line of 16."""
    model = nn.Sequential(ones_model(), nn.Linear(1, 20, bias=False))
    assert hvt.ShardedOptimizer(model, sgd).communication == {
        "reduce_scatter_bytes": 4 * (16 + 32),
        "allgather_bytes": 4 * (16 + 32),
        "largest_tensor_bytes": 4 * 20,
        "bucket_bytes": 4 << 20,
        "part_bytes": 4 << 16,
        "hierarchical": True,  # the default on CPUs
    }
    halved = hvt.ShardedOptimizer(
        model, sgd, elementwise=lambda name, p: True, wire_dtype=torch.bfloat16, hierarchical=False
    )
    assert halved.communication == {
        "reduce_scatter_bytes": 2 * (16 + 32),
        "allgather_bytes": 2 * (16 + 32),
        "largest_tensor_bytes": 0,
        "bucket_bytes": 2 << 20,
        "part_bytes": 2 << 16,
        "hierarchical": False,
    }


def test_a_steps_times_are_of_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves only where the work is: 2 s of data, 3 of update, 5 of all else."""
    now = [100.0]
    for module in (sharded, profile):
        monkeypatch.setattr(module, "perf_counter", lambda: now[0])

    class Slow(torch.optim.SGD):
        def step(self, closure: None = None) -> None:
            now[0] += 3.0

    optimizer = hvt.ShardedOptimizer(ones_model(), lambda named: Slow([p for _, p in named], 1.0))
    for _ in range(2):
        clock = hvt.StepClock(optimizer)
        now[0] += 2.0
        clock.fetched()
        now[0] += 5.0
        optimizer.step()
        times = clock.times()
        assert (times.data, times.update, times.communicate, times.total) == (2.0, 3.0, 0.0, 10.0)
        assert times.compute == 5.0
    assert optimizer.update_seconds == 6.0


def test_time_in_collectives_is_measured_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = hvt.ShardedOptimizer(ones_model(), sgd)
    seconds = iter([1.0, 4.0])
    monkeypatch.setattr(profile, "communication_seconds", lambda: next(seconds))
    assert hvt.StepClock(optimizer).times().communicate == 3.0


def test_gradients_untied_by_torchs_zero_grad_count() -> None:
    model = ones_model()
    optimizer = hvt.ShardedOptimizer(model, sgd)
    model.zero_grad(set_to_none=True)
    model.weight.sum().backward()
    assert optimizer.step().gradient_norm == pytest.approx(math.sqrt(2))


def test_backward_passes_add_up() -> None:
    model = ones_model()
    optimizer = hvt.ShardedOptimizer(model, sgd)
    optimizer.zero_grad()
    for _ in range(3):
        model.weight.sum().backward()
    assert optimizer.step().gradient_norm == pytest.approx(3 * math.sqrt(2))


def test_a_backward_pass_too_many_is_refused() -> None:
    model = ones_model()
    optimizer = hvt.ShardedOptimizer(model, sgd)
    optimizer.step()  # the first one sends nothing early
    optimizer.zero_grad(backward_passes=2)
    model.weight.sum().backward()
    model.weight.sum().backward()
    with pytest.raises(RuntimeError, match=r"weight: its gradient was sent, .*passes=2\) is too"):
        model.weight.sum().backward()


def test_frozen_and_tied_parameters() -> None:
    model = nn.ModuleList([ones_model(), ones_model(), ones_model()])
    model[1].weight = model[0].weight
    model[2].weight.requires_grad_(False)
    optimizer = hvt.ShardedOptimizer(model, sgd)
    optimizer.zero_grad()
    (model[0].weight + model[1].weight + model[2].weight).sum().backward()
    optimizer.step()
    assert model[1].weight.tolist() == [[-1.0, -1.0]]
    assert model[2].weight.tolist() == [[1.0, 1.0]]


def test_sums_keep_more_than_float32() -> None:
    optimizer = hvt.ShardedOptimizer(ones_model(), sgd)
    outcome = optimizer.step(sums=[123456.789012, 7], stop=True)
    assert outcome.sums == (123456.789012, 7)
    assert outcome.stop
    with pytest.raises(ValueError, match="at most 8 sums"):
        optimizer.step(sums=[0.0] * (MAX_SUMS + 1))


def test_state_of_another_model_is_refused() -> None:
    saved = hvt.ShardedOptimizer(nn.Linear(3, 2), sgd).gather_state()
    optimizer = hvt.ShardedOptimizer(nn.Linear(4, 2), sgd)
    with pytest.raises(UserError, match=r"weight has shape \[2, 3\], the model's has \[2, 4\]"):
        optimizer.load_state(saved.tensors, saved.description)


def test_mixed_types_are_refused() -> None:
    model = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1).double()])
    with pytest.raises(ValueError, match="one type and device"):
        hvt.ShardedOptimizer(model, sgd)


def test_hash_depends_on_every_element_of_a_tensor() -> None:
    tensors = [
        {"a": torch.zeros(2, 3)},
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3, dtype=torch.int32)},
        {"a": torch.zeros(2, 3, dtype=torch.bfloat16)},
        {"a": torch.tensor([[0.0, 0, 0], [0, 0, 1e-45]])},
    ]
    assert len({hvt.weights_sha256(each) for each in tensors}) == len(tensors)
    both = {"a": torch.ones(()), "b": torch.zeros(1)}
    swapped: dict[str, Tensor] = dict(reversed(both.items()))
    assert hvt.weights_sha256(both) == hvt.weights_sha256(swapped)


def test_sums_may_be_tensors() -> None:
    """The same numbers, bit for bit, as plain ones."""
    square = torch.tensor(9.0, dtype=torch.float64)
    number = torch.tensor(123456.789012, dtype=torch.float64)
    assert pack_extras(square, True, [number, 7.0]).tolist() == [9.0, 1.0, 123456.789012, 7.0]
    assert pack_extras(square, True, [123456.789012, 7.0]).tolist() == [
        9.0,
        1.0,
        123456.789012,
        7.0,
    ]


def test_a_step_on_a_device_reads_nothing_of_it() -> None:
    """Tensors of the device `meta` have no values, so that whoever reads one fails."""
    model = nn.Linear(3, 2, device="meta")
    optimizer = hvt.ShardedOptimizer(model, sgd, clip_norm=1.0)
    optimizer.zero_grad()
    loss = model(torch.empty(5, 3, device="meta")).sum()
    loss.backward()
    numbers = optimizer._queue_step((loss.detach(),), stop=False)
    with pytest.raises(RuntimeError, match="meta"):  # a control: reading is what fails
        numbers.values()


@pytest.mark.parametrize(("clip", "factor"), [(2.5, 0.5), (10.0, 1.0)])
def test_clipping_without_a_wait_does_the_same(clip: float, factor: float) -> None:
    """Gradients (3, 4) have the norm 5."""
    optimizer = hvt.ShardedOptimizer(ones_model(), sgd, clip_norm=clip)
    flat = optimizer._flat.gradients

    class OnDevice(torch.Tensor):
        is_cpu = False

    flat[:2] = torch.tensor([3.0, 4.0])
    optimizer._clip(torch.tensor(5.0).as_subclass(OnDevice))
    assert flat[:2].tolist() == [3.0 * factor, 4.0 * factor]


def test_a_gradient_that_is_not_finite_leaves_the_weights() -> None:
    model = ones_model()
    optimizer = hvt.ShardedOptimizer(model, sgd, clip_norm=1.0)
    for factor, expected in ((math.nan, [[1.0, 1.0]]), (1.0, [[0.4, 0.2]])):
        optimizer.zero_grad()
        (factor * model.weight * torch.tensor([[3.0, 4.0]])).sum().backward()
        assert math.isnan(optimizer.step().gradient_norm) == math.isnan(factor)
        assert model.weight.tolist() == [pytest.approx(row) for row in expected]


def test_gathered_state_in_the_same_memory() -> None:
    """Equal to a new copy, and overwritten by the next one."""
    model = ones_model()
    optimizer = hvt.ShardedOptimizer(model, sgd)
    memory: dict[str, Tensor] = {}
    places = []
    for momentum in ([[3.0, 4.0]], [[5.7, 7.6]]):  # 0.9 of the one before, and the gradient
        optimizer.zero_grad()
        (model.weight * torch.tensor([[3.0, 4.0]])).sum().backward()
        optimizer.step()
        kept, fresh = optimizer.gather_state(memory), optimizer.gather_state()
        assert kept.description == fresh.description
        assert kept.tensors.keys() == fresh.tensors.keys() == {"weight/momentum_buffer"}
        for found in (kept.tensors, fresh.tensors):
            assert found["weight/momentum_buffer"].tolist() == [pytest.approx(momentum[0])]
        places.append(kept.tensors["weight/momentum_buffer"].data_ptr())
    assert places[0] == places[1]


@pytest.mark.parametrize(
    ("asked", "device", "expected"),
    [(None, "cpu", True), (None, "cuda", False), (True, "cuda", True), (False, "cpu", False)],
)
def test_where_gradients_are_added_up_within_hosts(
    asked: bool | None, device: str, expected: bool
) -> None:
    assert is_hierarchical(asked, device) is expected


def test_sums_within_hosts_where_there_is_one_host() -> None:
    """Asked for, they are for wherever there are hosts of several ranks: a run may lose some."""
    optimizer = hvt.ShardedOptimizer(ones_model(), sgd, hierarchical=True)
    assert optimizer.communication["hierarchical"] is True
