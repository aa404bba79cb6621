"""`resize.py save FOLDER`: 6 steps, then a checkpoint. `resize.py resume FOLDER`: 6 steps more."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

import hvdcore.torch as hvt
from hvdcore.testing.ranks import save_result

SAMPLES = 12


def main(action: str, folder: Path) -> None:
    world = hvt.init()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = hvt.ShardedOptimizer(
        model, lambda named: torch.optim.AdamW([p for _, p in named], lr=0.05)
    )
    first = 0
    if action == "resume":
        first = 6
        model.load_state_dict(load_file(folder / "model.safetensors"))
        optimizer.load_state(
            load_file(folder / "optimizer.safetensors"),
            json.loads((folder / "optimizer.json").read_text("utf-8")),
        )
    for step in range(first, first + 6):
        optimizer.zero_grad()
        inputs = torch.randn(SAMPLES, 6, generator=torch.Generator().manual_seed(step))
        own = inputs[world.rank :: world.size]
        ((model(own) - own[:, :2].sin()).square().sum() / SAMPLES).backward()
        optimizer.step()
    state = optimizer.gather_state()
    if action == "save" and world.is_root:
        save_file(model.state_dict(), folder / "model.safetensors")
        save_file(state.tensors, folder / "optimizer.safetensors")
        (folder / "optimizer.json").write_text(json.dumps(state.description), encoding="utf-8")
    weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    save_result({"weights": weights.tolist(), "hash": hvt.check_same_weights(model)})
    hvt.shutdown()


main(sys.argv[1], Path(sys.argv[2]))
