"""The same training on Horovod, for `hvdcore launch`, `horovodrun`, `mpirun` or `srun`."""

import torch
from torch import nn

import hvdcore.torch
from hvdcore.sharding import train_steps
from hvdcore.torch import ShardedOptimizer

EPOCHS, BATCH, SEED = 3, 16, 0
world = hvdcore.torch.init()
generator = torch.Generator().manual_seed(SEED)
inputs = torch.randn(96, 8, generator=generator)
targets = inputs.sum(dim=1, keepdim=True).sin()

torch.manual_seed(SEED)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
hvdcore.torch.broadcast_parameters(model)
optimizer = ShardedOptimizer(
    model, lambda named: torch.optim.AdamW([p for _, p in named], lr=1e-2), clip_norm=1.0
)
steps = train_steps(
    len(inputs), global_batch_size=BATCH, seed=SEED, rank=world.rank, size=world.size
)
total = 0.0
for step in steps:
    if step.epoch == EPOCHS:
        break
    optimizer.zero_grad()
    predicted = model(inputs[step.indices])
    loss_sum = nn.functional.mse_loss(predicted, targets[step.indices], reduction="sum")
    (loss_sum / step.num_samples).backward()
    outcome = optimizer.step(sums=(loss_sum.item(),))
    total += outcome.sums[0]
    if step.ends_epoch:
        if world.is_root:
            print(f"epoch {step.epoch}: loss {total / len(inputs):.6f}")
        total = 0.0
