"""A script for Accelerate."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, BATCH, SEED = 3, 16, 0
accelerator = Accelerator(cpu=True)
generator = torch.Generator().manual_seed(SEED)
inputs = torch.randn(96, 8, generator=generator)
targets = inputs.sum(dim=1, keepdim=True).sin()

torch.manual_seed(SEED)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
data = TensorDataset(inputs, targets)
loader = DataLoader(data, batch_size=BATCH // accelerator.num_processes, shuffle=True)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
for epoch in range(EPOCHS):
    total = torch.zeros(1)
    for batch_inputs, batch_targets in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(batch_inputs), batch_targets)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.detach() * len(batch_inputs)
    total = accelerator.reduce(total, reduction="sum")
    accelerator.print(f"epoch {epoch}: loss {total.item() / len(data):.6f}")
accelerator.end_training()
