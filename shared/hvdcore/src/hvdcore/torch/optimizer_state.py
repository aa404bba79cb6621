"""The optimizer's state in a checkpoint, loadable on any number of ranks.

State is named after its parameter, `<parameter>/<key>`, so the rank that owned it leaves no trace.
Tensors travel as bytes and everything else as JSON: no pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hvdcore.errors import UserError
from hvdcore.torch.buckets import Piece
from hvdcore.torch.collectives import current_world, gather_bytes
from hvdcore.torch.host_copy import copy_to_host


@dataclass(frozen=True)
class SavedState:
    """What safetensors and JSON can hold of an optimizer; empty on ranks other than 0."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)


def gather_state(
    optimizer: torch.optim.Optimizer | None,
    owned: Sequence[Piece],
    memory: dict[str, Tensor] | None = None,
) -> SavedState:
    """Bring all owners' state to rank 0. Every rank must call.

    Args:
        memory: copies of an earlier call, which one rank alone overwrites in place of new ones.
    """
    tensors, cuts, description = _own_state(optimizer, owned)
    if memory is not None and not cuts and current_world().size == 1:
        copy_to_host(tensors, memory)
        return SavedState({name: memory[name] for name in tensors}, {"parameters": description})
    index = [
        (name, str(t.dtype).removeprefix("torch."), list(t.shape), cuts.get(name))
        for name, t in tensors.items()
    ]
    header = json.dumps({"index": index, "parameters": description}).encode()
    headers = gather_bytes(torch.frombuffer(bytearray(header), dtype=torch.uint8), "headers")
    payload = [_as_bytes(tensor) for tensor in tensors.values()]
    payloads = gather_bytes(torch.cat([torch.empty(0, dtype=torch.uint8), *payload]), "state")
    saved = SavedState(description={"parameters": {}})
    for packed in headers:
        found = json.loads(packed.numpy().tobytes())
        _unpack(found["index"], payloads.pop(0), saved.tensors)  # which is then dropped
        saved.description["parameters"].update(found["parameters"])
    return saved if headers else SavedState()


def load_state(
    optimizer: torch.optim.Optimizer | None,
    owned: Sequence[Piece],
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, Tensor],
    description: Mapping[str, Any],
) -> None:
    """Give each owned parameter its state. `shapes` are those of the model's parameters, all."""
    _check_model(shapes, description["parameters"])
    for piece in owned:
        assert optimizer is not None
        entry = description["parameters"][piece.name]
        state: dict[str, Any] = dict(entry["values"])
        for key in entry["tensors"]:
            tensor = tensors[f"{piece.name}/{key}"]
            if not piece.is_whole and tensor.shape == piece.shape:
                tensor = tensor[piece.rows.start : piece.rows.stop]
            state[key] = tensor.to(_device_of(key, piece.parameter), copy=True)
        optimizer.state[piece.parameter] = state


_Cut = tuple[int, int]
"""The first of some rows, and the number of rows of the whole tensor."""


def _own_state(
    optimizer: torch.optim.Optimizer | None, owned: Sequence[Piece]
) -> tuple[dict[str, Tensor], dict[str, _Cut], dict[str, Any]]:
    """Tensors, which of them are some rows of a whole tensor, and everything else."""
    tensors: dict[str, Tensor] = {}
    cuts: dict[str, _Cut] = {}
    description: dict[str, Any] = {}
    for piece in owned:
        assert optimizer is not None
        state = optimizer.state.get(piece.parameter, {})
        kept = sorted(key for key, value in state.items() if isinstance(value, Tensor))
        for key in kept:
            tensors[f"{piece.name}/{key}"] = state[key]
            if not piece.is_whole and state[key].shape == piece.parameter.shape:
                cuts[f"{piece.name}/{key}"] = (piece.rows.start, piece.shape[0])
        description[piece.name] = {
            "shape": list(piece.shape),
            "tensors": kept,
            "values": {key: value for key, value in state.items() if key not in kept},
        }
    return tensors, cuts, description


def _check_model(shapes: Mapping[str, tuple[int, ...]], saved: Mapping[str, Any]) -> None:
    problems = [f"{name} is missing" for name in shapes if name not in saved]
    problems += [f"{name} is unknown to the model" for name in saved if name not in shapes]
    problems += [
        f"{name} has shape {saved[name]['shape']}, the model's has {list(shape)}"
        for name, shape in shapes.items()
        if name in saved and tuple(saved[name]["shape"]) != shape
    ]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(
            "checkpoint: its optimizer state is of another model: "
            f"{'; '.join(problems[:3])}{more}; resume with the model that it was saved with"
        )


def _device_of(key: str, parameter: Tensor) -> torch.device:
    # PyTorch's optimizers keep the step count on the CPU.
    return torch.device("cpu") if key == "step" else parameter.device


def _as_bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def _unpack(
    index: Sequence[tuple[str, str, list[int], _Cut | None]],
    data: Tensor,
    into: dict[str, Tensor],
) -> None:
    offset = 0
    for name, type_name, shape, cut in index:
        dtype: torch.dtype = getattr(torch, type_name)
        end = offset + torch.Size(shape).numel() * dtype.itemsize
        # A copy: a view of bytes at any offset need not be aligned.
        tensor = data[offset:end].clone().view(dtype).reshape(shape)
        if cut is None:
            into[name] = tensor
        else:
            first, rows = cut
            whole = into.setdefault(name, torch.empty(rows, *shape[1:], dtype=dtype))
            whole[first : first + shape[0]] = tensor
        offset = end
