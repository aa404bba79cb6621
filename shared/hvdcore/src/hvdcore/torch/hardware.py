"""The hardware: peak memory used, peak FLOP/s by data sheet or measured, the cost of an update.

Costs share parameters out among ranks. They are in nanoseconds on one core of about 60 GFLOP/s;
only their ratio matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from time import perf_counter

import torch

from hvdcore.metrics.metrics import peak_resident_bytes
from hvdcore.runtime.world import World
from hvdcore.torch.collectives import allreduce_sum, barrier

# Dense FLOP/s of the makers' data sheets: tensor cores in bfloat16, CUDA cores in float32, which
# is what PyTorch's float32 products use by default.
_DATA_SHEETS = {
    "NVIDIA H200": (989.4e12, 66.9e12),
    "NVIDIA H100 80GB HBM3": (989.4e12, 66.9e12),
    "NVIDIA H100 PCIe": (756.4e12, 51.2e12),
    "NVIDIA A100-SXM4-40GB": (312e12, 19.5e12),
    "NVIDIA A100-SXM4-80GB": (312e12, 19.5e12),
    "NVIDIA A100-PCIE-40GB": (312e12, 19.5e12),
    "NVIDIA A100 80GB PCIe": (312e12, 19.5e12),
    "NVIDIA L40S": (362.05e12, 91.6e12),
}
_MEASURED_SECONDS = 0.25


@dataclass(frozen=True)
class PeakFlops:
    """The most floating-point operations a second that all ranks' devices give together."""

    per_second: float
    source: str
    """The data sheet, or the measurement, in a few words."""


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory that this rank has held at a time: tensors on a GPU, else the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes()


def peak_flops(device: torch.device, dtype: torch.dtype) -> PeakFlops:
    """The peak of all ranks' devices for matrix products in `dtype`. Every rank must call.

    A GPU's is that of its data sheet, if known. All else is measured by one large product, on all
    ranks at once, since they share the machine. It takes a quarter of a second.
    """
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    sheet = data_sheet_flops(named, dtype)
    barrier()  # all start to measure together
    own = measured_flops(device, dtype) if sheet is None else sheet
    total = float(allreduce_sum(torch.tensor([own], dtype=torch.float64))[0])
    kind = str(dtype).removeprefix("torch.")
    threads = torch.get_num_threads()
    where = named or f"{threads} CPU thread{'s' if threads > 1 else ''} a rank"
    how = "measured by a matrix product" if sheet is None else "data sheet"
    return PeakFlops(total, f"{how}, {kind}, {where}")


def data_sheet_flops(name: str, dtype: torch.dtype) -> float | None:
    """The data sheet's FLOP/s of a GPU by PyTorch's name for it; None where it is not known."""
    if name not in _DATA_SHEETS:
        return None
    half, single = _DATA_SHEETS[name]
    return {torch.bfloat16: half, torch.float16: half, torch.float32: single}.get(dtype)


def measured_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, at the best of its repetitions."""
    side = 8192 if device.type == "cuda" else 1024
    generator = torch.Generator().manual_seed(0)  # the run's own random state stays as it is
    left, right = torch.rand(2, side, side, generator=generator).to(device, dtype).unbind()
    best, spent = float("inf"), 0.0
    for repetition in range(1_000):
        started = perf_counter()
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = perf_counter() - started
        if repetition:  # the first also finds its kernel and its memory
            best, spent = min(best, seconds), spent + seconds
        if spent >= _MEASURED_SECONDS:
            break
    return 2 * side**3 / best


def elementwise_cost(shape: Sequence[int]) -> float:
    """AdamW and its like: some 12 reads and writes of memory an element."""
    return 2_000.0 + 3.0 * prod(shape)


def newton_schulz_cost(shape: Sequence[int], iterations: int = 5) -> float:
    """Muon: 2 x (2 r^2 c) + 2 r^3 operations an iteration on r x c, r <= c."""
    rows, columns = sorted(shape)
    operations = iterations * (4 * rows * rows * columns + 2 * rows**3)
    return elementwise_cost(shape) + operations / 60.0


def pick_device(world: World) -> torch.device:
    """The rank's GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        device = torch.device("cuda", world.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
        return device
    return torch.device("cpu")
