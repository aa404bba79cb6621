"""Bytes of live tensors, counted: by hand, and the same without memory as with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvdcore.torch.heap import Heap
from hvdcore.torch.live_bytes import LiveBytes, fake_copy, fake_tensors

MIB = 1 << 20


def test_peak_by_hand() -> None:
    """a, b, and a + b are 4 MiB each; the sum of squares needs one more while it is made."""
    with LiveBytes() as live:
        a = torch.ones(MIB)
        b = a * 2
        assert live.now == 8 * MIB
        del a
        assert live.now == 4 * MIB
        c = (b + b).square()
        assert live.peak == 12 * MIB
        d = c.view(2, -1)
        del c
        assert live.now == 8 * MIB
        del b, d
    assert live.now == 0


def test_labels_tell_kinds_apart() -> None:
    def label(tensor: Tensor) -> str:
        return "wide" if tensor.shape and tensor.shape[-1] == 7 else "other"

    with LiveBytes(label=label) as live:
        held = [torch.zeros(3, 7), torch.zeros(5)]
    assert live.at_peak == {"wide": 84, "other": 20}
    assert held


def peak_of(model: nn.Module, tokens: Tensor) -> int:
    with LiveBytes([*model.parameters()]) as live:
        model(tokens).square().sum().backward()
    return live.peak


def test_the_same_without_memory() -> None:
    model = nn.Sequential(nn.Embedding(50, 24), nn.Linear(24, 96), nn.GELU(), nn.Linear(96, 24))
    mode = fake_tensors()
    copied = fake_copy(model, mode)
    with mode:
        counted = peak_of(copied, torch.zeros(8, 16, dtype=torch.int64))
    assert counted == peak_of(model, torch.zeros(8, 16, dtype=torch.int64))
    assert counted > 4 * 8 * 16 * (24 + 96 + 96)


def test_a_heap_with_holes_takes_more_than_its_blocks() -> None:
    """Every second block is freed; what is larger than a hole must go elsewhere."""
    heap = Heap()
    try:
        blocks = [heap.allocate(64_000) for _ in range(64)]
        filled = heap.peak
        assert filled >= 60 * 64_000
        for block in blocks[::2]:
            heap.free(block)
        for _ in range(16):
            heap.allocate(120_000)
        with_holes = heap.peak
    finally:
        heap.close()
    assert with_holes >= filled + 12 * 120_000
    control = Heap()  # the holes lie side by side
    try:
        blocks = [control.allocate(64_000) for _ in range(64)]
        for block in blocks[:32]:
            control.free(block)
        for _ in range(16):
            control.allocate(120_000)
        assert control.peak < filled + 4 * 120_000
    finally:
        control.close()
