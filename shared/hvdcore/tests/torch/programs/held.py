"""Parameters that something other than their own module's forward pass reads."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

import hvdcore.torch as hvt
from hvdcore.testing.ranks import save_result


class Holder(nn.Module):
    """Reads what a list holds: the list itself has no forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ParameterList([torch.ones(4), torch.ones(4)])
        self.linear = nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.linear(inputs * self.scales[0]) * self.scales[1]
        return output


def train(model: nn.Module, rank: int, wait: bool) -> hvt.ShardedOptimizer:
    optimizer = hvt.ShardedOptimizer(
        model,
        lambda named: torch.optim.AdamW([p for _, p in named], lr=0.1),
        elementwise=lambda name, parameter: True,
        bucket_elements=16,
    )
    for step in range(5):
        optimizer.zero_grad(backward_passes=1)
        inputs = torch.full((2, 4), float(rank + step + 1))
        (model(inputs) - inputs.sin()).square().sum().backward()
        optimizer.step(wait=wait)
    return optimizer


def message_of_stale_read(model: Holder, optimizer: hvt.ShardedOptimizer) -> str:
    """The last step's parameters are still on their way, and nobody calls a forward pass."""
    optimizer.zero_grad(backward_passes=1)
    try:
        model.linear.weight.sum().backward()
    except RuntimeError as error:
        return str(error)
    return "unnoticed"


def main() -> None:
    world = hvt.init()
    torch.manual_seed(0)
    model = Holder()
    other = copy.deepcopy(model)
    optimizer = train(model, world.rank, wait=False)
    message = message_of_stale_read(model, optimizer)
    optimizer.synchronize()
    train(other, world.rank, wait=True)
    hashes = [hvt.weights_sha256(each) for each in (model, other)]
    save_result({"hashes": hashes, "message": message, "common": hvt.check_same_weights(model)})
    hvt.shutdown()


main()
