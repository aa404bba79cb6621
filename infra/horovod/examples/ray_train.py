"""PyTorch on a Ray cluster: Ray starts the ranks, and their results come back to the driver.

Start: python ray_train.py. Without a cluster (`ray.init(address="auto")` finds one) Ray starts one
on this machine.
"""

import hashlib

import ray
from horovod.ray import RayExecutor


def train() -> str:
    """What each rank does. It imports by itself, for it runs in another process."""
    import horovod.torch as hvd
    import torch

    hvd.init()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 4, generator=generator)[hvd.rank() :: hvd.size()]
    y = x @ torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    torch.manual_seed(hvd.rank())  # other weights on each rank, until the broadcast
    model = torch.nn.Linear(4, 1)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer = hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())

    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(hvd.allreduce(loss.detach(), name="loss").item())
    content = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    digest = hashlib.sha256(content).hexdigest()
    loss = f"loss {losses[0]:.4f} -> {losses[-1]:.4f}"
    return f"rank {hvd.rank()} of {hvd.size()}: {loss}, {digest}"


def main() -> None:
    ray.init(num_cpus=2, include_dashboard=False)
    executor = RayExecutor(RayExecutor.create_settings(timeout_s=60), num_workers=2)
    executor.start()
    for line in executor.run(train):
        print(line)
    executor.shutdown()


if __name__ == "__main__":
    main()
