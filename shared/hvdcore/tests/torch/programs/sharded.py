"""The same training by `ShardedOptimizer` on this many ranks, by plain AdamW, and by no wrapper.

`sharded.py`: each step in one bucket. `sharded.py overlap`: in small buckets, behind two backward
passes and the next forward pass. `bfloat16`: that, and half the bytes. `early`: buckets leave after
the first of the two, which is wrong. `compiled`: as `overlap`, two layers under `torch.compile`.
A second argument puts four ranks on two hosts: `0 1/2 3` host by host, `0 2/1 3` in turns. A third
one, `drop`, leaves a rank's gradients out of its host's sums, which is wrong.
"""

from __future__ import annotations

import copy
import json
import sys
import time

import torch
from torch import Tensor, nn

import hvdcore.torch as hvt
from hvdcore.testing.ranks import save_result
from hvdcore.torch import hierarchical, sharded
from hvdcore.torch.collectives import engine
from hvdcore.torch.topology import Hosts

GLOBAL_BATCH = 12
STEPS = 20
HALF = 10
CLIP_NORM = 0.5
MODE = sys.argv[1] if len(sys.argv) > 1 else "one bucket"
HOSTS = Hosts(tuple(tuple(map(int, h.split())) for h in " ".join(sys.argv[2:3]).split("/")))
PASSES = 1 if MODE == "one bucket" else 2


class Turned(nn.Sequential):
    """Its last module reads the input, so gradients are not ready in the order of the model."""

    def forward(self, inputs: Tensor) -> Tensor:
        for module in reversed(self):
            inputs = module(inputs)
        return inputs


def new_model() -> nn.Module:
    torch.manual_seed(0)
    if MODE == "one bucket":
        return nn.Sequential(
            nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 3)
        )
    model = Turned(nn.Linear(5, 3), nn.Tanh(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(7, 9))
    if MODE == "compiled":
        return nn.Sequential(nn.Sequential(model[4], model[3], model[2], model[1]), model[0])
    return model


def compiled(model: nn.Module) -> list[nn.Module]:
    """Its modules whose forward passes are compiled from now on, as graphs without a break."""
    if MODE != "compiled":
        return []
    for module in model:
        module.forward = torch.compile(module.forward, backend="eager", fullgraph=True)
    return list(model)


def new_optimizer(model: nn.Module) -> hvt.ShardedOptimizer:
    if MODE == "one bucket":
        return hvt.ShardedOptimizer(model, make_adamw, clip_norm=CLIP_NORM)
    return hvt.ShardedOptimizer(
        model,
        make_adamw,
        clip_norm=CLIP_NORM,
        elementwise=lambda name, _: name.startswith(("2.", "4.")),
        wire_dtype=torch.bfloat16 if MODE == "bfloat16" else torch.float32,
        compiled=compiled(model),
        bucket_elements=32,
    )


in_time = hvt.ShardedOptimizer._gradient_added


def send_early(optimizer: hvt.ShardedOptimizer, index: int) -> None:
    """In place of the hook: a bucket leaves when each of its gradients has been added to once."""
    if optimizer._passes is None:  # the first step
        in_time(optimizer, index)
        return
    optimizer._added[index] += 1
    optimizer._flat.take_gradient(index)
    bucket = optimizer.layout.slots[index].bucket
    if optimizer._added[index] == 1:
        optimizer._missing[bucket] -= 1
        if optimizer._missing[bucket] == 0:
            optimizer._send_gradients(bucket)
            while not engine().poll(optimizer._exchange._gradients[bucket]):
                time.sleep(0.001)  # else the second pass might add in time


in_order = hierarchical._in_order


def without_last_of_host(
    ranks: tuple[int, ...], others: list[int], theirs: list[Tensor], own: Tensor
) -> list[Tensor]:
    return in_order(ranks[:-1] if ranks in HOSTS.ranks else ranks, others, theirs, own)


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(GLOBAL_BATCH, 7, generator=generator)
    return inputs, inputs[:, :3].sin() * 3


def make_adamw(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for _, p in named], lr=0.02, weight_decay=0.1)


def train(
    model: nn.Module, optimizer: hvt.ShardedOptimizer, steps: range, rank: int, size: int
) -> list[list[float]]:
    """Norm and global loss sum of each step."""
    seen = []
    for step in steps:
        optimizer.zero_grad(backward_passes=None if PASSES == 1 else PASSES)
        inputs, targets = (array[rank::size] for array in batch(step))
        sums = [0.0, float(len(inputs))]
        for number in range(PASSES):
            rows = slice(number, None, PASSES)
            loss = (model(inputs[rows]) - targets[rows]).square().sum()
            (loss / GLOBAL_BATCH).backward()
            sums[0] += loss.item()
        optimizer.scale_learning_rate(1 - step / (2 * STEPS))
        outcome = optimizer.step(sums, stop=rank == 1 and step == 3, wait=PASSES == 1)
        assert outcome.stop == (size > 1 and step == 3)
        assert outcome.sums[1] == GLOBAL_BATCH
        seen.append([outcome.gradient_norm, outcome.sums[0]])
    optimizer.synchronize()
    return seen


def train_plainly(model: nn.Module, rank: int, size: int) -> list[list[float]]:
    """What one process without Horovod does with these samples."""
    optimizer = make_adamw(list(model.named_parameters()))
    seen = []
    for step in range(STEPS):
        optimizer.zero_grad()
        inputs, targets = (array[rank::size] for array in batch(step))
        loss = (model(inputs) - targets).square().sum()
        (loss / GLOBAL_BATCH).backward()
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / (2 * STEPS))
        norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        seen.append([float(norm), loss.item()])
    return seen


def worst_difference(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def main() -> None:
    world = hvt.init()
    if MODE == "early":
        hvt.ShardedOptimizer._gradient_added = send_early
    if HOSTS.ranks_per_host:
        sharded.read_hosts = lambda _: HOSTS
    if sys.argv[3:] == ["drop"]:
        hierarchical._in_order = without_last_of_host
    initial = new_model()
    model = copy.deepcopy(initial)
    optimizer = new_optimizer(model)
    seen = train(model, optimizer, range(HALF), world.rank, world.size)
    halfway = copy.deepcopy(model.state_dict())
    state = optimizer.gather_state()
    seen += train(model, optimizer, range(HALF, STEPS), world.rank, world.size)

    resumed = new_model()
    resumed_optimizer = new_optimizer(resumed)
    resumed.load_state_dict(halfway)
    description = hvt.broadcast_object(state.description)
    tensors = {
        f"{name}/{key}": state.tensors.get(f"{name}/{key}", torch.zeros(()))
        for name, entry in description["parameters"].items()
        for key in entry["tensors"]
    }
    shapes = hvt.broadcast_object({name: list(t.shape) for name, t in tensors.items()})
    for name, shape in shapes.items():
        # Rank 0 holds the state, as it alone wrote the checkpoint; here a sum hands it to all.
        own = tensors[name] if world.is_root else torch.zeros(shape)
        tensors[name] = hvt.allreduce_sum(own)
    resumed_optimizer.load_state(tensors, description)
    train(resumed, resumed_optimizer, range(HALF, STEPS), world.rank, world.size)

    plain = copy.deepcopy(initial)
    expected = train_plainly(plain, 0, 1)
    unwrapped = copy.deepcopy(initial)
    train_plainly(unwrapped, world.rank, world.size)
    save_result(
        {
            "hash": hvt.check_same_weights(model),
            "resumed_hash": hvt.weights_sha256(resumed),
            "unwrapped_hash": hvt.weights_sha256(unwrapped),
            "seen": seen,
            "expected": expected,
            "difference": worst_difference(model, plain),
            "moved": worst_difference(model, initial),
            "names": [name for name, _ in model.named_parameters()],
            "buckets": [slot.bucket for slot in optimizer.layout.slots],
            "owned": len(optimizer.param_groups[0]["params"]) if optimizer.param_groups else 0,
            "state": sorted(state.tensors),
            "state_sum": {n: float(t.double().abs().sum()) for n, t in state.tensors.items()},
            "description": json.dumps(state.description, sort_keys=True),
        }
    )
    hvt.shutdown()


main()
