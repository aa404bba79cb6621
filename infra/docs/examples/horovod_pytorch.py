"""A script as it was written for Horovod 0.28.1: it runs unchanged."""

import horovod.torch as hvd
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

EPOCHS, BATCH, SEED = 3, 16, 0
hvd.init()
generator = torch.Generator().manual_seed(SEED)
inputs = torch.randn(96, 8, generator=generator)
targets = inputs.sum(dim=1, keepdim=True).sin()

torch.manual_seed(SEED)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
optimizer = hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)

data = TensorDataset(inputs, targets)
sampler = DistributedSampler(data, num_replicas=hvd.size(), rank=hvd.rank(), seed=SEED)
loader = DataLoader(data, batch_size=BATCH // hvd.size(), sampler=sampler)
for epoch in range(EPOCHS):
    sampler.set_epoch(epoch)
    total = 0.0
    for batch_inputs, batch_targets in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(batch_inputs), batch_targets)
        loss.backward()
        optimizer.step()
        total += loss.item() / len(loader)
    mean = hvd.allreduce(torch.tensor(total), name="loss").item()
    if hvd.rank() == 0:
        print(f"epoch {epoch}: loss {mean:.6f}")
