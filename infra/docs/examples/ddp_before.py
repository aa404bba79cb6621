"""A script for DistributedDataParallel and torchrun."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

EPOCHS, BATCH, SEED = 3, 16, 0
dist.init_process_group("gloo")
generator = torch.Generator().manual_seed(SEED)
inputs = torch.randn(96, 8, generator=generator)
targets = inputs.sum(dim=1, keepdim=True).sin()

torch.manual_seed(SEED)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
model = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

data = TensorDataset(inputs, targets)
sampler = DistributedSampler(data, seed=SEED)
loader = DataLoader(data, batch_size=BATCH // dist.get_world_size(), sampler=sampler)
for epoch in range(EPOCHS):
    sampler.set_epoch(epoch)
    total = torch.zeros(1)
    for batch_inputs, batch_targets in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(batch_inputs), batch_targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.detach() * len(batch_inputs)
    dist.all_reduce(total)
    if dist.get_rank() == 0:
        print(f"epoch {epoch}: loss {total.item() / len(data):.6f}")
dist.destroy_process_group()
