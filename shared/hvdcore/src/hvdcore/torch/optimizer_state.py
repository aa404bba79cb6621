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
from torch import Tensor, nn

from hvdcore.errors import UserError
from hvdcore.torch.collectives import gather_bytes

Owned = Sequence[tuple[str, nn.Parameter]]


@dataclass(frozen=True)
class SavedState:
    """What safetensors and JSON can hold of an optimizer; empty on ranks other than 0."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)


def gather_state(optimizer: torch.optim.Optimizer | None, owned: Owned) -> SavedState:
    """Bring all owners' state to rank 0. Every rank must call."""
    tensors, description = _own_state(optimizer, owned)
    index = [
        (name, str(t.dtype).removeprefix("torch."), list(t.shape)) for name, t in tensors.items()
    ]
    header = json.dumps({"index": index, "parameters": description}).encode()
    headers = gather_bytes(torch.frombuffer(bytearray(header), dtype=torch.uint8), "headers")
    payload = [_as_bytes(tensor) for tensor in tensors.values()]
    payloads = gather_bytes(torch.cat([torch.empty(0, dtype=torch.uint8), *payload]), "state")
    saved = SavedState(description={"parameters": {}})
    for packed, data in zip(headers, payloads, strict=True):
        found = json.loads(packed.numpy().tobytes())
        saved.tensors.update(_unpack(found["index"], data))
        saved.description["parameters"].update(found["parameters"])
    return saved if headers else SavedState()


def load_state(
    optimizer: torch.optim.Optimizer | None,
    owned: Owned,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, Tensor],
    description: Mapping[str, Any],
) -> None:
    """Give each owned parameter its state. `shapes` are those of the model's parameters, all."""
    _check_model(shapes, description["parameters"])
    for name, parameter in owned:
        assert optimizer is not None
        entry = description["parameters"][name]
        state: dict[str, Any] = dict(entry["values"])
        for key in entry["tensors"]:
            state[key] = tensors[f"{name}/{key}"].to(_device_of(key, parameter), copy=True)
        optimizer.state[parameter] = state


def _own_state(
    optimizer: torch.optim.Optimizer | None, owned: Owned
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    description: dict[str, Any] = {}
    for name, parameter in owned:
        assert optimizer is not None
        state = optimizer.state.get(parameter, {})
        kept = sorted(key for key, value in state.items() if isinstance(value, Tensor))
        tensors.update({f"{name}/{key}": state[key] for key in kept})
        description[name] = {
            "shape": list(parameter.shape),
            "tensors": kept,
            "values": {key: value for key, value in state.items() if key not in kept},
        }
    return tensors, description


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


def _device_of(key: str, parameter: nn.Parameter) -> torch.device:
    # PyTorch's optimizers keep the step count on the CPU.
    return torch.device("cpu") if key == "step" else parameter.device


def _as_bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def _unpack(index: Sequence[tuple[str, str, list[int]]], data: Tensor) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    offset = 0
    for name, type_name, shape in index:
        dtype: torch.dtype = getattr(torch, type_name)
        end = offset + torch.Size(shape).numel() * dtype.itemsize
        # A copy: a view of bytes at any offset need not be aligned.
        tensors[name] = data[offset:end].clone().view(dtype).reshape(shape)
        offset = end
    return tensors
