"""Prints what the machine is, as JSON: driver, card, CUDA, PyTorch."""

from __future__ import annotations

import json
import shutil
import subprocess

import torch


def driver() -> str | None:
    """The version of NVIDIA's driver; None without one."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=30)
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout else None


count = torch.cuda.device_count() if torch.cuda.is_available() else 0
found = {
    "torch": torch.__version__,
    "cuda": torch.version.cuda,
    "driver": driver(),
    "num_gpus": count,
    "gpus": [torch.cuda.get_device_name(i) for i in range(count)],
    "peer_access": [
        torch.cuda.can_device_access_peer(0, other) for other in range(1, count)
    ],
    "nccl": ".".join(map(str, torch.cuda.nccl.version())) if count else None,
}  # fmt: skip
print(json.dumps(found))
