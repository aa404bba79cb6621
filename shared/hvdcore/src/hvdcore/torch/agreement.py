"""Owns the proof that ranks agree: a hash of the weights, compared across ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hvdcore.torch.collectives import gather_rows
from hvdcore.torch.engine import current_world


def weights_sha256(weights: nn.Module | Mapping[str, Tensor]) -> str:
    """SHA-256 over name, type, shape and bytes of each tensor, in the order of names."""
    tensors = weights.state_dict() if isinstance(weights, nn.Module) else weights
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_same_weights(weights: nn.Module | Mapping[str, Tensor]) -> str:
    """The hash that every rank's weights share. Every rank must call.

    Raises:
        RuntimeError: on every rank, naming the ranks whose weights differ from most.
    """
    own = bytearray.fromhex(weights_sha256(weights))
    row = torch.frombuffer(own, dtype=torch.uint8).reshape(1, -1)
    rows = gather_rows(row, "hvdcore.weights_sha256")
    hashes = [bytes(row.tolist()).hex() for row in rows]
    most = max(hashes, key=lambda value: (hashes.count(value), -hashes.index(value)))
    different = [rank for rank, value in enumerate(hashes) if value != most]
    if different:
        raise RuntimeError(
            f"weights differ between ranks: {_ranks(different)} of {current_world().size} "
            f"disagree with the others"
        )
    return most


def _ranks(ranks: list[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
