"""PyTorch, elastic: hosts may come and go, and training goes on from the last commit.

Start it with a program that prints the hosts there are now, as `host:slots` lines. On one machine:

    printf '#!/bin/sh\\necho localhost:2\\n' > discover.sh; chmod +x discover.sh
    horovodrun -np 2 --network-interfaces lo --host-discovery-script ./discover.sh \\
        python pytorch_elastic.py
"""

import hashlib

import horovod.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 8
BATCH = 16


def made_data() -> TensorDataset:
    """512 points of the plane; the class of each says on which side of a circle it is."""
    points = torch.randn(512, 2, generator=torch.Generator().manual_seed(0))
    return TensorDataset(points, (points.norm(dim=1) > 1.2).long())


def digest(model: nn.Module) -> str:
    """The same text on two ranks only if their weights are the same to the bit."""
    content = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    return hashlib.sha256(content).hexdigest()


@hvd.elastic.run
def train(state: hvd.elastic.TorchState) -> None:
    """Called again, from the last commit, whenever the ranks have changed."""
    while state.epoch < EPOCHS:
        loader = DataLoader(state.sampler.dataset, batch_size=BATCH, sampler=state.sampler)
        total = torch.zeros(1)
        for batch, (points, classes) in enumerate(loader):
            state.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(state.model(points), classes)
            loss.backward()
            state.optimizer.step()
            total += loss.detach()
            state.sampler.record_batch(batch, BATCH)
            if batch % 4 == 3:
                state.commit()  # a failure after this goes back to here, not further
        state.losses.append(hvd.allreduce(total / len(loader), name="loss").item())
        state.epoch += 1
        state.sampler.set_epoch(state.epoch)
        state.commit()


def main() -> None:
    hvd.init()
    torch.manual_seed(hvd.rank())  # state.sync(), before the first step, makes ranks equal
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer = hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())
    sampler = hvd.elastic.ElasticSampler(made_data())
    state = hvd.elastic.TorchState(model, optimizer, sampler=sampler, epoch=0, losses=[])
    train(state)
    first, last = state.losses[0], state.losses[-1]
    print(f"rank {hvd.rank()} of {hvd.size()}: loss {first:.4f} -> {last:.4f}, {digest(model)}")


if __name__ == "__main__":
    main()
