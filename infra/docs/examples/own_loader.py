"""A PyTorch `DataLoader` with worker processes reads what `train_steps` deals out to a rank."""

import itertools

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import hvdcore.torch
from hvdcore.sharding import train_steps
from hvdcore.torch import ShardedOptimizer

EPOCHS, BATCH, SEED = 3, 16, 0


class Samples(Dataset):
    """Any map-style data set will do: here each sample is made from its number."""

    def __len__(self):
        return 96

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        values = torch.randn(8, generator=generator)
        return values, values.sum(dim=0, keepdim=True).sin()


def main():
    world = hvdcore.torch.init()
    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    hvdcore.torch.broadcast_parameters(model)
    optimizer = ShardedOptimizer(
        model, lambda named: torch.optim.AdamW([p for _, p in named], lr=1e-2), clip_norm=1.0
    )
    data = Samples()
    # [loader]
    steps = train_steps(
        len(data), global_batch_size=BATCH, seed=SEED, rank=world.rank, size=world.size
    )
    wanted = list(itertools.takewhile(lambda step: step.epoch < EPOCHS, steps))
    loader = DataLoader(
        data, batch_sampler=[step.indices.tolist() for step in wanted], num_workers=2
    )
    for step, (inputs, targets) in zip(wanted, loader, strict=True):
        optimizer.zero_grad()
        loss_sum = nn.functional.mse_loss(model(inputs), targets, reduction="sum")
        (loss_sum / step.num_samples).backward()
        outcome = optimizer.step(sums=(loss_sum.item(),))
        # [end]
        if step.ends_epoch and world.is_root:
            print(f"epoch {step.epoch}: loss {outcome.sums[0] / step.num_samples:.6f}")
    if world.is_root:
        print("weights", hvdcore.torch.weights_sha256(model))


if __name__ == "__main__":
    main()
