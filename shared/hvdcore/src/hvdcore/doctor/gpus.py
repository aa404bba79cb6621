"""The GPUs: driver, CUDA, NCCL and which file it is, peer access, and a sum on each GPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from hvdcore.doctor.examination import Finding, installed

__all__ = ["findings_of", "gpu_report"]

_SECONDS = 240.0
_NUM = 1000
# One rank gives each GPU's 1,000 twos to Horovod, whose sum over that one rank is the same.
_PROGRAM = """
import ctypes, json, torch
facts = {"cuda": torch.version.cuda, "gpus": []}
if torch.cuda.is_available():
    import horovod.torch as hvd
    from horovod.common import library
    hvd.init()
    loaded = library.load()
    for name in ("cuda_library", "nccl_library", "nccl_error"):
        function = getattr(loaded, "horovod_" + name)
        function.restype = ctypes.c_char_p
        facts[name] = (function() or b"").decode()
    facts["nccl"] = hvd.nccl_built()
    for index in range(torch.cuda.device_count()):
        ones = torch.full((1000,), 2.0, device=f"cuda:{index}")
        try:
            total = float(hvd.allreduce(ones, op=hvd.Sum, name=f"doctor{index}").sum())
        except Exception as error:
            total = str(error)
        peers = [other for other in range(torch.cuda.device_count()) if other != index
                 and torch.cuda.can_device_access_peer(index, other)]
        name = torch.cuda.get_device_name(index)
        facts["gpus"].append({"name": name, "sum": total, "peers": peers})
print(json.dumps(facts))
"""


def gpu_report() -> list[Finding]:
    """What there is to say of GPUs; one line where there is no driver."""
    driver = _driver()
    if driver is None:
        return [Finding("gpus", "none: no NVIDIA driver answers (nvidia-smi)")]
    found = [Finding("gpu driver", driver)]
    if installed("torch") is None:
        return [*found, Finding("gpus", "not examined", "install PyTorch, which brings CUDA")]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return [*found, Finding("gpus", "did not answer", f"no sum within {_SECONDS:g} s")]
    if done.returncode != 0 or not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        return [*found, Finding("gpus", f"failed: exit {done.returncode}", last)]
    return found + findings_of(json.loads(done.stdout.strip().splitlines()[-1]))


def _driver() -> str | None:
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout else None


def findings_of(facts: Mapping[str, Any]) -> list[Finding]:
    """The lines for what the program found.

    Args:
        facts: `cuda` and its library, `nccl` (21805 is 2.18.5), its library or why there is none,
            and of each GPU `name`, `sum` and `peers`.
    """
    if not facts["gpus"]:
        fix = "install PyTorch's build for CUDA: pip install torch"
        return [Finding("gpus", "PyTorch sees none", fix)]
    found = [Finding("cuda", f"{facts['cuda']} ({facts['cuda_library']})"), _nccl(facts)]
    return found + [_gpu(index, gpu) for index, gpu in enumerate(facts["gpus"])]


def _nccl(facts: Mapping[str, Any]) -> Finding:
    if not facts["nccl"]:
        reason, _, fix = str(facts["nccl_error"]).partition(": ")
        return Finding("nccl", f"{reason}; GPUs communicate through the host's memory", fix)
    major, rest = divmod(int(facts["nccl"]), 10_000)
    return Finding("nccl", f"{major}.{rest // 100}.{rest % 100} ({facts['nccl_library']})")


def _gpu(index: int, gpu: Mapping[str, Any]) -> Finding:
    peers = ", ".join(map(str, gpu["peers"]))
    what = f"{gpu['name']}, peer access to {peers or 'none'}"
    if gpu["sum"] == 2.0 * _NUM:
        return Finding(f"gpu {index}", f"{what}, sum right")
    return Finding(f"gpu {index}", f"{what}, sum wrong", f"{gpu['sum']} instead of {2.0 * _NUM}")
