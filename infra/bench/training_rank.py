"""A process that trains the benchmark's model in bursts: `training_rank.py ours|ddp`."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from jobs import serve
from torch import Tensor, nn

from textgen.model.config import preset
from textgen.model.transformer import Transformer
from textgen.training.optimizer import OptimizerConfig, build_optimizer

VOCAB_SIZE = 128
CLIP_NORM = 1.0
SETTINGS = OptimizerConfig()
Step = Callable[[Tensor, Tensor], None]


def new_model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(preset("char").config(VOCAB_SIZE))


def our_step() -> tuple[Step, Callable[[], float], Callable[[], None]]:
    """A step as `textgen train` makes it, the seconds spent in collectives, and the end."""
    import hvdcore.torch as hvt
    from textgen.training.optimizer import is_elementwise, update_cost

    world = hvt.init()
    model = new_model()
    hvt.broadcast_parameters(model)
    optimizer = hvt.ShardedOptimizer(
        model,
        lambda named: build_optimizer(named, SETTINGS),
        clip_norm=CLIP_NORM,
        cost=update_cost(SETTINGS),
        elementwise=is_elementwise(SETTINGS),
    )

    def step(tokens: Tensor, targets: Tensor) -> None:
        optimizer.scale_learning_rate(0.5)
        optimizer.zero_grad(backward_passes=1)
        loss = model.loss(tokens, targets)
        (loss / (targets.numel() * world.size)).backward()
        optimizer.step(sums=(loss.item(),), wait=False)

    return step, hvt.communication_seconds, hvt.shutdown


class LossOf(nn.Module):
    """DDP hooks into `forward`, so the loss has to be one."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss(tokens, targets, reduction="mean")


def ddp_step() -> tuple[Step, Callable[[], float], Callable[[], None]]:
    """A step as users of DDP make it: every rank runs the whole optimizer."""
    import torch.distributed as dist

    dist.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(LossOf(new_model()))
    optimizer = build_optimizer(
        ((name.removeprefix("module.model."), p) for name, p in model.named_parameters()), SETTINGS
    )

    def step(tokens: Tensor, targets: Tensor) -> None:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * 0.5
        optimizer.zero_grad()
        loss = model(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        loss.item()

    return step, lambda: 0.0, dist.destroy_process_group


def main(kind: str) -> None:
    step, waited, end = our_step() if kind == "ours" else ddp_step()
    length = preset("char").context_length
    data = torch.randint(VOCAB_SIZE, (256, length + 1))

    def burst(sequences: int, steps: int) -> dict[str, Any]:
        def run(number: int) -> None:
            for index in range(number):
                start = 7 * index % (len(data) - sequences)
                rows = data[start : start + sequences]
                step(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())

        run(2)
        before, faults, started = waited(), page_faults(), time.perf_counter()
        run(steps)
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "page_faults": page_faults() - faults,
            "waited": waited() - before,
            "threads": torch.get_num_threads(),
        }

    serve(burst)
    end()


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    main(sys.argv[1])
