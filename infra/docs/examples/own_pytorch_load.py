"""Load what own_pytorch.py trained: `python own_pytorch_load.py runs/mine`."""

import sys
from pathlib import Path

# [load]
import torch
from safetensors.torch import load_file
from torch import nn

from hvdcore.run.checkpoint import latest_valid
from hvdcore.run.run_dir import RunDir

model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
checkpoint = latest_valid(RunDir(Path(sys.argv[1])).checkpoints)
model.load_state_dict(load_file(checkpoint.file("model.safetensors")))
with torch.no_grad():
    print(f"step {checkpoint.step}: {model(torch.ones(1, 8)).item():.4f}")
