"""PyTorch on several ranks: each sees its part of the data, all take the same step.

Start: horovodrun -np 2 python pytorch_train.py
"""

import hashlib

import horovod.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def made_data() -> TensorDataset:
    """512 points of the plane; the class of each says on which side of a circle it is."""
    points = torch.randn(512, 2, generator=torch.Generator().manual_seed(0))
    return TensorDataset(points, (points.norm(dim=1) > 1.2).long())


def digest(model: nn.Module) -> str:
    """The same text on two ranks only if their weights are the same to the bit."""
    content = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    hvd.init()
    torch.manual_seed(
        hvd.rank()
    )  # ranks begin with different weights: the broadcast makes them equal
    dataset = made_data()
    sampler = DistributedSampler(dataset, num_replicas=hvd.size(), rank=hvd.rank())
    loader = DataLoader(dataset, batch_size=16, sampler=sampler)

    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1 * hvd.size(), momentum=0.9)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    optimizer = hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())

    losses = []
    for epoch in range(8):
        sampler.set_epoch(epoch)
        total = 0.0
        for points, classes in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(points), classes)
            loss.backward()
            optimizer.step()
            total += loss.item()
        # The mean over all ranks, so that each prints the same.
        losses.append(hvd.allreduce(torch.tensor(total / len(loader)), name="loss").item())
    first, last = losses[0], losses[-1]
    print(f"rank {hvd.rank()} of {hvd.size()}: loss {first:.4f} -> {last:.4f}, {digest(model)}")


if __name__ == "__main__":
    main()
