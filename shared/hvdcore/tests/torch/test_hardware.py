"""The hardware's peak: by data sheet, or measured as what a product of known size took."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import hvdcore.torch as hvt
from hvdcore.torch import hardware
from hvdcore.torch.hardware import data_sheet_flops, measured_flops

CPU = torch.device("cpu")


def test_a_product_of_known_size_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """1024^3 multiplications and additions in a tenth of a second, a slow first product apart."""
    ticks = iter([0.0, 9.0, 10.0, 10.1, 20.0, 20.2])
    monkeypatch.setattr(hardware, "perf_counter", lambda: next(ticks))
    before = torch.get_rng_state()
    assert measured_flops(CPU, torch.float32) == pytest.approx(2 * 1024**3 / 0.1)
    assert torch.equal(torch.get_rng_state(), before)


def test_data_sheets_are_of_a_name_and_a_type() -> None:
    assert data_sheet_flops("NVIDIA A100-SXM4-80GB", torch.bfloat16) == 312e12
    assert data_sheet_flops("NVIDIA A100-SXM4-80GB", torch.float32) == 19.5e12
    assert data_sheet_flops("NVIDIA A100-SXM4-80GB", torch.float64) is None
    assert data_sheet_flops("a processor", torch.float32) is None


def test_the_peak_of_one_rank_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    hvt.init()
    monkeypatch.setattr(hardware, "measured_flops", lambda device, dtype: 5e9)
    peak = hvt.peak_flops(CPU, torch.float32)
    hvt.shutdown()
    assert peak.per_second == 5e9
    threads = {1: "1 CPU thread"}.get(count := torch.get_num_threads(), f"{count} CPU threads")
    assert peak.source == f"measured by a matrix product, float32, {threads} a rank"


def test_each_rank_of_a_host_picks_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    world = hvt.init()
    hvt.shutdown()
    assert hvt.pick_device(world) == (
        CPU if not torch.cuda.is_available() else torch.device("cuda", 0)
    )
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    picked = [hvt.pick_device(replace(world, local_rank=rank)) for rank in range(3)]
    assert picked == chosen == [torch.device("cuda", index) for index in (0, 1, 0)]
