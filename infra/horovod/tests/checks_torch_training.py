"""Checks of training with horovod.torch on real ranks, against one process on the whole batch."""

from __future__ import annotations

import copy
import functools
import os
import pickle

import horovod.torch as hvd
import torch
from rank_checks import error_of, must_fail

ROWS = 4  # of each rank's batch


def start() -> int:
    """Starts Horovod; the rank."""
    hvd.init()
    return hvd.rank()


def batch(step: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The whole batch of a step, which all ranks can make."""
    made = torch.Generator().manual_seed(step)
    x = torch.randn(ROWS * hvd.size(), 3, generator=made, dtype=torch.float64)
    return x, x.sum(1, keepdim=True).sin()


def rows_of_rank(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[ROWS * hvd.rank() : ROWS * (hvd.rank() + 1)]


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers = torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)
    return torch.nn.Sequential(*layers).double()


def loss_of(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (model(x) - y).square().mean()


def sgd(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def train_alone(make_optimizer=sgd, steps: int = 4) -> torch.nn.Module:
    """What one process makes of the whole batches."""
    model = network()
    optimizer = make_optimizer(model)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, *batch(step)).backward()
        optimizer.step()
    return model


def train(wrap=None, make_optimizer=sgd, steps: int = 4, **zero_grad) -> torch.nn.Module:
    """What the ranks make of their rows of the same batches."""
    model = network()
    optimizer = make_optimizer(model)
    if wrap is not None:
        optimizer = wrap(optimizer, named_parameters=model.named_parameters())
    for step in range(steps):
        optimizer.zero_grad(**zero_grad)
        loss_of(model, *map(rows_of_rank, batch(step))).backward()
        optimizer.step()
    return model


def assert_same(model: torch.nn.Module, expected: torch.nn.Module, tolerance=1e-12) -> None:
    for (name, p), q in zip(model.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=0, atol=tolerance), (name, p, q)


def assert_equal_on_all_ranks(model: torch.nn.Module) -> None:
    for name, p in model.named_parameters():
        of_ranks = hvd.allgather(p.detach()[None])
        assert torch.equal(of_ranks, of_ranks[:1].expand_as(of_ranks)), (name, of_ranks)


def check_ranks_train_what_one_process_trains() -> None:
    model = train(hvd.DistributedOptimizer)
    assert_equal_on_all_ranks(model)
    assert_same(model, train_alone())


@must_fail(AssertionError)
def check_control_not_wrapped() -> None:
    assert_equal_on_all_ranks(train(None))


def check_zero_grad_with_set_to_none() -> None:
    for set_to_none in (True, False):
        model = train(hvd.DistributedOptimizer, set_to_none=set_to_none)
        assert_same(model, train_alone())


def check_every_way_to_reduce() -> None:
    for options in (
        {"groups": 2},
        {"gradient_predivide_factor": float(hvd.size())},
        {"groups": 1, "gradient_predivide_factor": 2.0},
    ):
        assert_same(train(functools.partial(hvd.DistributedOptimizer, **options)), train_alone())
    half = functools.partial(hvd.DistributedOptimizer, compression=hvd.Compression.fp16)
    model = train(half)
    assert_equal_on_all_ranks(model)
    assert_same(model, train_alone(), tolerance=1e-3)


def check_groups_where_a_rank_has_no_gradient() -> None:
    """Rank 0 uses one layer only; the others' gradients count for it as zeros."""
    model = network()
    optimizer = hvd.DistributedOptimizer(sgd(model), model.named_parameters(), groups=1)
    used = model[0](torch.ones(1, 3).double()).sum()
    if hvd.rank() > 0:
        used = used + model[2](torch.ones(1, 5).double()).sum()
    used.backward()
    optimizer.synchronize()
    share = (hvd.size() - 1) / hvd.size()
    assert torch.allclose(model[2].bias.grad, torch.full((1,), share).double())
    assert torch.equal(model[0].bias.grad, torch.ones(5).double())


def check_a_wrapped_optimizer_keeps_state_and_arguments() -> None:
    class Needs(torch.optim.SGD):
        """An optimizer of somebody else's, whose arguments nobody knows."""

        def __init__(self, params, scale, *, power):
            super().__init__(params, lr=scale**power)

    assert_same(
        train(hvd.DistributedOptimizer, lambda m: Needs(m.parameters(), 0.1, power=2)),
        train_alone(lambda m: Needs(m.parameters(), 0.1, power=2)),
    )
    model = network()
    optimizer = sgd(model)
    loss_of(model, *batch()).backward()
    optimizer.step()
    momentum = optimizer.state[model[0].weight]["momentum_buffer"].clone()
    wrapped = hvd.DistributedOptimizer(optimizer)
    assert torch.equal(wrapped.state[model[0].weight]["momentum_buffer"], momentum)
    assert isinstance(wrapped, torch.optim.SGD)


@must_fail(ValueError)
def check_control_wrapped_twice() -> None:
    hvd.DistributedOptimizer(hvd.DistributedOptimizer(sgd(network())))


def check_step_hooks_run_once() -> None:
    model, calls = network(), []
    optimizer = hvd.DistributedOptimizer(sgd(model))
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    loss_of(model, *batch()).backward()
    optimizer.step()
    assert calls == ["before", "after"], calls


def check_parameters_added_and_unfrozen_later() -> None:
    model = network()
    model[2].requires_grad_(False)
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model[0].parameters(), lr=0.1))
    optimizer.add_param_group({"params": list(model[2].parameters())})
    model[2].requires_grad_(True)
    for step in range(3):
        optimizer.zero_grad()
        loss_of(model, *map(rows_of_rank, batch(step))).backward()
        optimizer.step()
    assert_equal_on_all_ranks(model)
    plain = lambda m: torch.optim.SGD(m.parameters(), lr=0.1)  # noqa: E731
    assert_same(model, train_alone(plain, steps=3))


# ---- Broadcasts


def check_parameters_of_every_kind() -> None:
    r = hvd.rank()
    image = (torch.arange(24.0).reshape(1, 2, 3, 4) * (r + 1)).contiguous(
        memory_format=torch.channels_last
    )
    state = {
        "bfloat16": torch.full((3,), r + 1, dtype=torch.bfloat16),
        "bool": torch.tensor([r == 0, r != 0]),
        "channels_last": image,
        "transposed": torch.nn.Parameter((torch.arange(6.0).reshape(2, 3) * (r + 1)).t()),
        "scalar": torch.tensor(r + 5),
        "empty": torch.empty(0),
    }
    hvd.broadcast_parameters(state, root_rank=0)
    assert torch.equal(state["bfloat16"], torch.ones(3, dtype=torch.bfloat16))
    assert state["bool"].tolist() == [True, False]
    assert torch.equal(state["channels_last"], torch.arange(24.0).reshape(1, 2, 3, 4))
    assert state["channels_last"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(state["transposed"], torch.arange(6.0).reshape(2, 3).t())
    assert int(state["scalar"]) == 5
    hvd.broadcast_parameters(network(r).named_parameters(), root_rank=0)


def check_a_channels_last_network_trains() -> None:
    def images(step):
        made = torch.Generator().manual_seed(step)
        return torch.randn(ROWS * hvd.size(), 2, 4, 4, generator=made, dtype=torch.float64)

    def convolution():
        torch.manual_seed(0)
        return torch.nn.Conv2d(2, 3, 3).double().to(memory_format=torch.channels_last)

    alone, model = convolution(), convolution()
    own = torch.optim.SGD(alone.parameters(), lr=0.1)
    optimizer = hvd.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
    for step in range(3):
        for net, opt, x in (
            (alone, own, images(step)),
            (model, optimizer, rows_of_rank(images(step))),
        ):
            opt.zero_grad()
            net(x.contiguous(memory_format=torch.channels_last)).square().mean().backward()
            opt.step()
    assert_same(model, alone)


def check_broadcast_of_state_makes_no_step() -> None:
    """Upstream makes a step on empty state, which moves parameters where there is weight decay."""
    model = network(hvd.rank())
    optimizer = hvd.DistributedOptimizer(sgd(model), model.named_parameters())
    before = copy.deepcopy(model)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    assert_same(model, before, tolerance=0)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    assert_equal_on_all_ranks(model)
    assert len(optimizer.state) == 0


def optimizers():
    yield lambda p: torch.optim.SGD(p, lr=0.1 * (hvd.rank() + 1), momentum=0.9)
    yield lambda p: torch.optim.AdamW(p, lr=0.1 * (hvd.rank() + 1), amsgrad=True)
    yield lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1 * (hvd.rank() + 1)), capturable=False)
    yield lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.1)
    yield lambda p: torch.optim.LBFGS(p, lr=0.1 * (hvd.rank() + 1), history_size=3)
    yield lambda p: torch.optim.Adafactor(p) if hasattr(torch.optim, "Adafactor") else None


def check_state_of_every_optimizer() -> None:
    """Only the root has made steps; afterwards all continue as the root does."""
    for make in optimizers():
        model = network()
        optimizer = make(list(model.parameters()))
        if optimizer is None:
            continue

        def closure(step, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = loss_of(model, *batch(step))
            loss.backward()
            return loss

        if hvd.rank() == 0:
            for step in range(3):
                optimizer.step(functools.partial(closure, step))
        hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        hvd.broadcast_optimizer_state(optimizer, root_rank=0)
        optimizer.step(functools.partial(closure, 3))
        assert_equal_on_all_ranks(model)


def train_with_muon(wrap: bool) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Four steps from equal weights; Muon takes matrices alone, so the network has no biases."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 5, bias=False), torch.nn.Linear(5, 1, bias=False)
    )
    optimizer = torch.optim.Muon(model.double().parameters(), lr=0.1)
    if wrap:
        optimizer = hvd.DistributedOptimizer(optimizer, model.named_parameters())
    for step in range(4):
        optimizer.zero_grad()
        loss_of(model, *map(rows_of_rank, batch(step))).backward()
        optimizer.step()
    return model, optimizer


def check_muon() -> None:
    if not hasattr(torch.optim, "Muon"):  # new in PyTorch 2.9
        return
    model, optimizer = train_with_muon(wrap=True)
    assert_equal_on_all_ranks(model)
    for state in optimizer.state.values():
        state["momentum_buffer"].add_(hvd.rank())
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    for state in optimizer.state.values():
        of_ranks = hvd.allgather(state["momentum_buffer"][None])
        assert torch.equal(of_ranks[0], of_ranks[-1])


@must_fail(AssertionError)
def check_control_muon_not_wrapped() -> None:
    assert hasattr(torch.optim, "Muon")
    assert_equal_on_all_ranks(train_with_muon(wrap=False)[0])


def check_state_that_the_root_does_not_have() -> None:
    model = network()
    optimizer = sgd(model)
    if hvd.rank() > 0:
        loss_of(model, *batch()).backward()
        optimizer.step()
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    assert len(optimizer.state) == 0


def check_different_groups_are_an_error_on_all_ranks() -> None:
    width = 2 + int(hvd.rank() == 0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(width))], lr=0.1)
    text = error_of(ValueError, lambda: hvd.broadcast_optimizer_state(optimizer, 0))
    assert "(3,)" in text
    assert "(2,)" in text


# ---- Schedulers, pickles


def check_schedulers() -> None:
    for scheduler_first in (True, False):
        model = network()
        optimizer = sgd(model)
        make = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
        scheduler = make(optimizer) if scheduler_first else None
        wrapped = hvd.DistributedOptimizer(optimizer, model.named_parameters())
        scheduler = scheduler or make(wrapped)
        for step in range(3):
            wrapped.zero_grad()
            loss_of(model, *map(rows_of_rank, batch(step))).backward()
            wrapped.step()
            scheduler.step()
        assert wrapped.param_groups[0]["lr"] == 0.1 * 0.5**3
        assert_equal_on_all_ranks(model)


def check_a_wrapped_optimizer_is_pickled_with_its_scheduler() -> None:
    model = network()
    optimizer = hvd.DistributedOptimizer(sgd(model), model.named_parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    loss_of(model, *map(rows_of_rank, batch())).backward()
    optimizer.step()
    scheduler.step()
    for copied in (
        pickle.loads(pickle.dumps((model, optimizer, scheduler))),  # noqa: S301
        copy.deepcopy((model, optimizer, scheduler)),
        hvd.broadcast_object((model, optimizer, scheduler), 0),
    ):
        again, its_optimizer, its_scheduler = copied
        assert type(its_optimizer) is type(optimizer)
        assert its_scheduler.optimizer is its_optimizer
        its_optimizer.zero_grad()
        loss_of(again, *map(rows_of_rank, batch(1))).backward()
        its_optimizer.step()
        its_scheduler.step()
        assert its_optimizer.param_groups[0]["lr"] == 0.1 * 0.5**2
        assert_equal_on_all_ranks(again)
        if again is model:  # broadcast_object on the root
            break


# ---- Two optimizers, accumulation, closures


def check_a_gan() -> None:
    """Two optimizers whose parameters share names; the generator's loss goes through both nets."""
    for drop in ("optimizer", "model"):
        generator, discriminator = network(1), network(2)
        judge = torch.nn.Linear(1, 3).double()
        torch.manual_seed(3)
        judge.reset_parameters()
        g = hvd.DistributedOptimizer(sgd(generator), generator.named_parameters())
        d = hvd.DistributedOptimizer(
            sgd(discriminator), discriminator.named_parameters(), backward_passes_per_step=2
        )
        for step in range(4):
            x, y = map(rows_of_rank, batch(step))
            d.zero_grad() if drop == "optimizer" else discriminator.zero_grad()
            loss_of(discriminator, x, y).backward()
            fake = generator(x)
            loss_of(discriminator, judge(fake.detach()), -y).backward()
            d.step()
            g.zero_grad() if drop == "optimizer" else generator.zero_grad()
            loss_of(discriminator, judge(fake), y).backward()
            g.step()
        d.zero_grad()
        assert_equal_on_all_ranks(generator)
        assert_equal_on_all_ranks(discriminator)


@must_fail(AssertionError)
def check_control_more_passes_than_announced() -> None:
    model = network()
    optimizer = hvd.DistributedOptimizer(sgd(model), model.named_parameters())
    try:
        loss_of(model, *map(rows_of_rank, batch(0))).backward()
        loss_of(model, *map(rows_of_rank, batch(1))).backward()
    finally:
        optimizer.zero_grad()


def accumulate(model, optimizer, of_batch, passes: int = 2, num_batches: int = 5) -> None:
    """Two epochs whose last step has a pass less than the others."""
    for _epoch in range(2):
        optimizer.zero_grad()
        for i in range(num_batches):
            (loss_of(model, *of_batch(i)) / passes).backward()
            if (i + 1) % passes == 0 or i + 1 == num_batches:
                optimizer.step()
                optimizer.zero_grad()


def check_accumulation_with_a_remainder() -> None:
    alone, model = network(), network()
    accumulate(alone, sgd(alone), batch)
    optimizer = hvd.DistributedOptimizer(
        sgd(model), model.named_parameters(), backward_passes_per_step=2
    )
    accumulate(model, optimizer, lambda i: map(rows_of_rank, batch(i)))
    assert_same(model, alone)


def check_a_remainder_that_is_dropped() -> None:
    """The epoch ends in the middle of an accumulation; the next begins with zero_grad."""
    for drop in (lambda m, o: o.zero_grad(), lambda m, o: m.zero_grad()):
        model = network()
        optimizer = hvd.DistributedOptimizer(
            sgd(model), model.named_parameters(), backward_passes_per_step=3
        )
        for _epoch in range(2):
            drop(model, optimizer)
            for i in range(5):
                loss_of(model, *map(rows_of_rank, batch(i))).backward()
                if i == 2:
                    optimizer.step()
                    drop(model, optimizer)
        assert_equal_on_all_ranks(model)


def embedding(rank_dependent: int = 0) -> torch.nn.Embedding:
    torch.manual_seed(0)
    return torch.nn.Embedding(6, 2, sparse=True).double()


def check_sparse_gradients_with_accumulation() -> None:
    for passes in (1, 2):
        alone, model = embedding(), embedding()
        own = torch.optim.SGD(alone.parameters(), lr=0.1)
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.1),
            model.named_parameters(),
            backward_passes_per_step=passes,
        )
        for step in range(3):
            own.zero_grad()
            optimizer.zero_grad()
            for i in range(passes):
                for rank in range(hvd.size()):
                    (alone(torch.tensor([i, step + rank])).square().sum() / hvd.size()).backward()
                model(torch.tensor([i, step + hvd.rank()])).square().sum().backward()
            own.step()
            optimizer.step()
        assert_equal_on_all_ranks(model)
        assert_same(model, alone)


def check_sparse_gradients_that_one_rank_does_not_have() -> None:
    for as_dense in (True, False):
        model = embedding()
        optimizer = hvd.DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.1),
            model.named_parameters(),
            sparse_as_dense=as_dense,
        )
        for step in range(3):
            optimizer.zero_grad()
            if step == 0 or hvd.rank() == 0:
                model(torch.tensor([step, 3])).sum().backward()
            optimizer.step()
        assert_equal_on_all_ranks(model)


def check_lbfgs() -> None:
    def optimize(model, optimizer, of_batch):
        def closure():
            optimizer.zero_grad()
            loss = loss_of(model, *of_batch(0))
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)
        return model

    def lbfgs(model):
        return torch.optim.LBFGS(model.parameters(), max_iter=5, line_search_fn="strong_wolfe")

    alone, model = network(), network()
    optimize(alone, lbfgs(alone), batch)
    optimizer = hvd.DistributedOptimizer(lbfgs(model), model.named_parameters())
    optimize(model, optimizer, lambda i: map(rows_of_rank, batch(i)))
    assert_equal_on_all_ranks(model)
    assert_same(model, alone, tolerance=1e-6)


def check_gradient_clipping() -> None:
    model, alone = network(), network()
    optimizer, own = hvd.DistributedOptimizer(sgd(model)), sgd(alone)
    loss_of(alone, *batch()).backward()
    torch.nn.utils.clip_grad_norm_(alone.parameters(), 0.01)
    own.step()
    loss_of(model, *map(rows_of_rank, batch())).backward()
    optimizer.synchronize()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    with optimizer.skip_synchronize():
        optimizer.step()
    assert_same(model, alone)


def check_gradients_that_are_changed_too_early() -> None:
    """Clipped without synchronize(), a gradient was changed on one rank and combined on another."""
    for changed in (torch.Tensor.zero_, torch.Tensor.neg):
        for options in ({}, {"groups": 1}, {"compression": hvd.Compression.fp16}):
            model = network()
            optimizer = hvd.DistributedOptimizer(sgd(model), model.named_parameters(), **options)
            loss_of(model, *map(rows_of_rank, batch())).backward()
            for p in model.parameters():
                p.grad = changed(p.grad)
            assert "optimizer.synchronize()" in error_of(RuntimeError, optimizer.step)
            optimizer.zero_grad()


def scaled_steps(model, optimizer, of_batch, how: str, infinite_at: int = -1) -> float:
    """Four steps as scripts write them with a GradScaler; the scale at their end."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=1000)
    for step in range(4):
        optimizer.zero_grad()
        x, y = of_batch(step)
        if step == infinite_at and hvd.rank() == 1:
            y = y / 0
        scaler.scale(loss_of(model, x, y)).backward()
        if how == "synchronized":
            optimizer.synchronize()
        if how != "plain":
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        if how == "synchronized":
            with optimizer.skip_synchronize():
                scaler.step(optimizer)
        else:
            scaler.step(optimizer)
        scaler.update()
    return scaler.get_scale()


def check_grad_scaler() -> None:
    of_rank = lambda step: tuple(map(rows_of_rank, batch(step)))  # noqa: E731
    for fused in (False, True):
        make = lambda m: torch.optim.SGD(m.parameters(), 0.1, 0.9, fused=fused)  # noqa: B023, E731
        for how in ("synchronized", "unscaled", "plain"):
            alone = network()
            scaled_steps(alone, make(alone), batch, "plain" if how == "plain" else "unscaled")
            for op, options in ((hvd.Average, {}), (hvd.Sum, {"groups": 2})):
                model = network()
                optimizer = hvd.DistributedOptimizer(make(model), op=op, **options)
                share = hvd.size() if op == hvd.Sum else 1
                if op == hvd.Sum and how != "plain":
                    continue  # a sum is clipped at another norm
                for group in optimizer.param_groups:
                    group["lr"] /= share
                scaled_steps(model, optimizer, of_rank, how)
                assert_same(model, alone, 1e-8)


def check_an_infinite_gradient_of_one_rank_stops_the_step_of_all() -> None:
    of_rank = lambda step: tuple(map(rows_of_rank, batch(step)))  # noqa: E731
    for how in ("synchronized", "unscaled", "plain"):
        model = network()
        optimizer = hvd.DistributedOptimizer(sgd(model), model.named_parameters())
        assert scaled_steps(model, optimizer, of_rank, how, infinite_at=1) == 2.0**39
        assert_equal_on_all_ranks(model)
        assert all(p.isfinite().all() for p in model.parameters())


def check_a_step_after_synchronize_sends_nothing_twice() -> None:
    model, alone = network(), network()
    optimizer, own = hvd.DistributedOptimizer(sgd(model), op=hvd.Sum), sgd(alone)
    (loss_of(alone, *batch()) * hvd.size()).backward()
    own.step()
    loss_of(model, *map(rows_of_rank, batch())).backward()
    optimizer.synchronize()
    optimizer.step()
    assert_same(model, alone)


def check_adasum() -> None:
    if not hvd.mpi_enabled():
        with_adasum = functools.partial(hvd.allreduce, torch.ones(1), op=hvd.Adasum)
        assert "needs MPI" in error_of(NotImplementedError, with_adasum)
        return
    for set_to_none in (True, False):
        wrap = functools.partial(hvd.DistributedOptimizer, op=hvd.Adasum)
        plain = lambda m: torch.optim.SGD(m.parameters(), lr=0.01)  # noqa: E731
        model = train(wrap, plain, set_to_none=set_to_none)
        assert_equal_on_all_ranks(model)
        start = network()
        assert not torch.equal(model[0].weight, start[0].weight)


# ---- Batch normalization


def normalized(module_of, rows):
    """A batch normalization's output, gradients and running statistics on some rows."""
    torch.manual_seed(0)
    module = module_of(3).double()
    x = rows(torch.randn(hvd.size() * ROWS + 1, 3, 2, generator=torch.Generator().manual_seed(1)))
    x = x.double().requires_grad_()
    y = module(x)
    (y.square() * rows(torch.arange(float(hvd.size() * ROWS + 1))[:, None, None])).sum().backward()
    return module, x.grad, y


def uneven_rows(tensor: torch.Tensor) -> torch.Tensor:
    """A rank's rows; the last rank has one more."""
    last = hvd.rank() == hvd.size() - 1
    return tensor[ROWS * hvd.rank() : None if last else ROWS * (hvd.rank() + 1)]


def check_sync_batch_norm() -> None:
    for momentum in (0.1, None):
        whole_of = functools.partial(torch.nn.BatchNorm1d, momentum=momentum)
        sync_of = functools.partial(hvd.SyncBatchNorm, momentum=momentum)
        whole, grad, y = normalized(whole_of, lambda t: t)
        module, own_grad, own_y = normalized(sync_of, uneven_rows)
        assert torch.allclose(own_y, uneven_rows(y))
        assert torch.allclose(own_grad, uneven_rows(grad))
        assert torch.allclose(module.running_mean, whole.running_mean)
        assert torch.allclose(module.running_var, whole.running_var)
        total = hvd.allreduce(module.weight.grad, op=hvd.Sum)
        assert torch.allclose(total, whole.weight.grad)
        module.eval()
        whole.eval()
        x = torch.ones(2, 3, 2).double()
        assert torch.allclose(module(x), whole(x))


@must_fail(AssertionError)
def check_control_batch_norm_without_ranks() -> None:
    _, _, y = normalized(torch.nn.BatchNorm1d, lambda t: t)
    _, _, own = normalized(torch.nn.BatchNorm1d, uneven_rows)
    assert torch.allclose(own, uneven_rows(y))


def check_convert_sync_batch_norm() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 1),
        torch.nn.BatchNorm2d(2),
        torch.nn.Sequential(torch.nn.BatchNorm2d(2)),
    )
    weight = model[1].weight
    model = hvd.SyncBatchNorm.convert_sync_batchnorm(model)
    assert isinstance(model[1], hvd.SyncBatchNorm)
    assert isinstance(model[2][0], hvd.SyncBatchNorm)
    assert model[1].weight is weight
    model(torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(hvd.rank())))
    mean = hvd.allgather(model[1].running_mean[None])
    assert torch.allclose(mean[0], mean[-1])


# ---- Forked processes


class Numbers(torch.utils.data.Dataset):
    """A data set that asks for its rank, as scripts do, in forked workers."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.tensor([i, hvd.rank(), hvd.size()])


def check_data_loader_workers() -> None:
    loader = torch.utils.data.DataLoader(
        Numbers(), batch_size=4, num_workers=2, multiprocessing_context="fork"
    )
    for _epoch in range(3):
        for rows in loader:
            assert rows[:, 1:].tolist() == [[hvd.rank(), hvd.size()]] * 4
            summed = hvd.allreduce(rows[:, 0].clone(), op=hvd.Sum)
            assert torch.equal(summed, rows[:, 0] * hvd.size())


def check_a_forked_process_is_told_and_can_end() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = error_of(RuntimeError, lambda: hvd.allreduce(torch.ones(1)))
            text += error_of(RuntimeError, hvd.init)
            hvd.shutdown()
        except BaseException as error:
            text = repr(error)
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert text.count("was forked") == 2, text
    assert hvd.allreduce(torch.ones(1), op=hvd.Sum).item() == hvd.size()
