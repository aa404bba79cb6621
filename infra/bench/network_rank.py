"""A rank that trains in bursts: `network_rank.py MODEL KIND`, on a host of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from jobs import serve
from network_work import BATCH, CLIP_NORM, SETTINGS, VOCAB_SIZE, new_model
from torch import Tensor, nn

from textgen.training.optimizer import build_optimizer, update_cost

Step = Callable[[Tensor, Tensor], None]
Made = tuple[Step, Callable[[], float]]
"""A step, and the seconds that this rank has waited for others so far."""


def no_wait() -> float:
    return 0.0


def ours(name: str, dtype: torch.dtype, hierarchical: bool | None = None) -> Made:
    """A step as `textgen train` makes it."""
    import hvdcore.torch as hvt

    world = hvt.init()
    model = new_model(name)
    hvt.broadcast_parameters(model)
    optimizer = hvt.ShardedOptimizer(
        model,
        lambda named: build_optimizer(named, SETTINGS),
        clip_norm=CLIP_NORM,
        cost=update_cost(SETTINGS),
        elementwise=lambda name, parameter: True,
        wire_dtype=dtype,
        hierarchical=hierarchical,
    )

    def step(tokens: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad(backward_passes=1)
        loss = model.loss(tokens, targets)
        (loss / (targets.numel() * world.size)).backward()
        optimizer.step(sums=(loss.item(),), wait=False)

    return step, hvt.communication_seconds


def straight(name: str, dtype: torch.dtype) -> Made:
    """The same, with gradients that go straight to their owners on other hosts."""
    return ours(name, dtype, hierarchical=False)


class LossOf(nn.Module):
    """DDP hooks into `forward`, so the loss has to be one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.model.loss(tokens, targets, reduction="mean")
        return loss


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
    def step(tokens: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad()
        loss = model(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        loss.item()

    return step


def apart(name: str, dtype: torch.dtype) -> Made:
    """A rank that exchanges nothing."""
    model = LossOf(new_model(name))
    return plain_step(model, our_optimizer(model)), no_wait


def our_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    named = ((n.partition("model.")[2], p) for n, p in model.named_parameters())
    return build_optimizer(named, SETTINGS)


def torch_adamw(model: nn.Module) -> torch.optim.Optimizer:
    betas = (SETTINGS.beta1, SETTINGS.beta2)
    return torch.optim.AdamW(model.parameters(), SETTINGS.learning_rate, betas, foreach=True)


def ddp(name: str, dtype: torch.dtype) -> Made:
    import torch.distributed as dist
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

    dist.init_process_group("gloo")
    model = LossOf(new_model(name))
    optimizer = our_optimizer(model)
    wrapped = nn.parallel.DistributedDataParallel(model)
    if dtype == torch.float16:  # over Gloo DDP refuses bfloat16
        wrapped.register_comm_hook(None, default_hooks.fp16_compress_hook)
    return plain_step(wrapped, optimizer), no_wait


def fsdp(name: str, dtype: torch.dtype) -> Made:
    """Shards the parameters too, layer by layer, as its users do."""
    import torch.distributed as dist
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    dist.init_process_group("gloo")
    mesh = dist.init_device_mesh("cpu", (dist.get_world_size(),))
    policy = MixedPrecisionPolicy(reduce_dtype=None if dtype == torch.float32 else dtype)
    model = LossOf(new_model(name))
    for layer in model.model.model.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return plain_step(model, torch_adamw(model)), no_wait


def horovod(name: str, dtype: torch.dtype) -> Made:
    """Horovod's own optimizer."""
    import horovod.torch as hvd

    hvd.init()
    model = LossOf(new_model(name))
    named = list(model.named_parameters())
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    optimizer = hvd.DistributedOptimizer(torch_adamw(model), named_parameters=named)

    def step(tokens: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad()
        loss = model(tokens, targets)
        loss.backward()
        optimizer.synchronize()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        with optimizer.skip_synchronize():
            optimizer.step()
        loss.item()

    return step, no_wait


KINDS = {
    "ours": ours, "straight": straight, "apart": apart, "ddp": ddp, "fsdp": fsdp,
    "horovod": horovod,
}  # fmt: skip


def main(name: str, kind: str, dtype: str) -> None:
    torch.set_num_threads(1)
    step, waited = KINDS[kind](name, getattr(torch, dtype))
    sequences, length = BATCH[name]
    data = torch.randint(VOCAB_SIZE[name], (64 + sequences, length + 1))

    def run(number: int) -> None:
        for index in range(number):
            rows = data[7 * index % 64 :][:sequences]
            step(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())

    def burst(steps: int) -> dict[str, Any]:
        run(1)
        before, started, cpu = waited(), time.perf_counter(), time.process_time()
        run(steps)
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu
        return {"seconds": seconds, "waited": waited() - before, "cpu_seconds": cpu_seconds}

    run(2)
    serve(burst)


if __name__ == "__main__":
    main(*sys.argv[1:])
