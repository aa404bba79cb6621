"""A training script of one's own: any number of ranks, stopped and resumed at any step."""

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

import hvdcore.torch
from hvdcore.errors import user_errors_exit
from hvdcore.run.checkpoint import save
from hvdcore.run.start import start_run
from hvdcore.runtime.signals import StopFlag
from hvdcore.sharding import Position, check_shardable, train_steps
from hvdcore.torch import ShardedOptimizer, broadcast_object

# [options]
parser = argparse.ArgumentParser()
parser.add_argument("--output-dir", type=Path, required=True)
parser.add_argument("--resume", default="never")
parser.add_argument("--max-steps", type=int, default=24)
parser.add_argument("--stop-after", type=int, help="for the test: ask to stop after this step")
options = parser.parse_args()
BATCH, SEED, CHECKPOINT_EVERY = 16, 0, 8
# [data]
generator = torch.Generator().manual_seed(SEED)
inputs = torch.randn(100, 8, generator=generator)
targets = inputs.sum(dim=1, keepdim=True).sin()
# [model]
world = hvdcore.torch.init()
torch.manual_seed(SEED)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
hvdcore.torch.broadcast_parameters(model)
optimizer = ShardedOptimizer(
    model, lambda named: torch.optim.AdamW([p for _, p in named], lr=1e-2), clip_norm=1.0
)
# [start]
config = {"global_batch_size": BATCH, "seed": SEED}
with user_errors_exit(), StopFlag() as stop:
    check_shardable(len(inputs), BATCH, world.size)
    run, checkpoint = start_run(
        options.output_dir, "hvdcore", config, options.resume,
        fingerprint=config, world=world, broadcast=broadcast_object,
    )  # fmt: skip
    step, position = 0, Position()
    if checkpoint is not None:
        model.load_state_dict(load_file(checkpoint.file("model.safetensors")))
        state = load_file(checkpoint.file("optimizer.safetensors"))
        optimizer.load_state(state, checkpoint.meta["optimizer"])
        step, position = checkpoint.step, Position.from_json(checkpoint.meta["position"])

    # [checkpoint]
    def write_checkpoint() -> None:
        gathered = optimizer.gather_state()  # every rank must call

        def write(folder: Path) -> None:
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            save_file(weights, folder / "model.safetensors")
            save_file(gathered.tensors, folder / "optimizer.safetensors")

        if world.is_root:
            meta = {"position": position.to_json(), "optimizer": gathered.description, **config}
            save(run.checkpoints, step, write, meta=meta)
        hvdcore.torch.barrier()

    # [loop]
    batches = train_steps(
        len(inputs), global_batch_size=BATCH, seed=SEED,
        rank=world.rank, size=world.size, start=position,
    )  # fmt: skip
    while step < options.max_steps:
        batch = next(batches)
        optimizer.zero_grad()
        predicted = model(inputs[batch.indices])
        loss_sum = nn.functional.mse_loss(predicted, targets[batch.indices], reduction="sum")
        (loss_sum / batch.num_samples).backward()  # gradients are summed over ranks
        wants_stop = stop.requested or step + 1 == options.stop_after
        outcome = optimizer.step(sums=(loss_sum.item(),), stop=wants_stop)
        step, position = step + 1, batch.position
        if world.is_root:
            print(f"step {step}: loss {outcome.sums[0] / batch.num_samples:.6f}")
        if outcome.stop or step % CHECKPOINT_EVERY == 0 or step == options.max_steps:
            write_checkpoint()
        if outcome.stop:
            sys.exit(stop.exit_code)
# [end]
if world.is_root:
    print("weights", hvdcore.torch.weights_sha256(model))
