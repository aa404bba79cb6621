"""Owns gathering bytes of different lengths on rank 0 alone, in pieces."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from hvdcore.torch.collectives import gather_rows, wait
from hvdcore.torch.engine import current_world, engine

PIECE_BYTES = 256 * 1024 * 1024
"""MPI counts elements in 32 bits, so what is longer goes in several pieces."""


def gather_bytes(data: Tensor, name: str, piece_bytes: int = PIECE_BYTES) -> list[Tensor]:
    """Every rank's uint8 `data`, in rank order, on rank 0; elsewhere an empty list.

    Every rank must call. `name` tells apart gathers of different things.
    """
    world = current_world()
    if world.size == 1:
        return [data]
    lengths = gather_rows(torch.tensor([len(data)]), f"hvdcore.gather.{name}.lengths").tolist()
    received = [torch.empty(length, dtype=torch.uint8) for length in lengths]
    for start in range(0, max(lengths), piece_bytes):
        ends = [min(length, start + piece_bytes) for length in lengths]
        splits = torch.tensor([max(0, ends[world.rank] - start)] + [0] * (world.size - 1))
        piece = data[start : ends[world.rank]]
        # Horovod has no gather: an all-to-all in which all send to rank 0 moves the same bytes.
        handle = engine().alltoall_async(piece, splits.int(), name=f"hvdcore.gather.{name}")
        joined = _first(wait(handle))
        if world.rank == 0:
            _place(joined, received, start, ends)
    return received if world.rank == 0 else []


def gather_objects(value: Any) -> list[Any]:
    """Every rank's `value`, in rank order, on rank 0, through JSON; elsewhere an empty list.

    Every rank must call.

    Raises:
        TypeError: the value is not made of JSON's types.
    """
    data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    return [json.loads(part.numpy().tobytes()) for part in gather_bytes(data, "objects")]


def _first(output: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def _place(joined: Tensor, received: list[Tensor], start: int, ends: list[int]) -> None:
    offset = 0
    for target, end in zip(received, ends, strict=True):
        length = max(0, end - start)
        target[start : start + length] = joined[offset : offset + length]
        offset += length
