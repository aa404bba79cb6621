"""Broadcasts of parameters and of an optimizer's state, and of Python objects.

The public functions of horovod/torch/functions.py of Horovod 0.28.1. What differs: an optimizer's
state is sent as the root has it, and no step is made; so all optimizers are supported, LBFGS and
those of other packages too, and parameters stay as they are.
"""

from __future__ import annotations

from typing import Any

from horovod.common import objects
from horovod.torch.compiled import keep_out
from horovod.torch.mpi_ops import (
    ProcessSet,
    broadcast_async_,
    global_process_set,
    rank,
    synchronize,
)
from horovod.torch.operations.handles import set_id

import torch


def broadcast_parameters(params, root_rank):
    """Gives the root's parameters to all ranks, in place.

    Args:
        params: `model.state_dict()`, `model.named_parameters()`, `model.parameters()`, or a list
            of tensors or of pairs (name, tensor). Entries that are no tensors stay as they are.
        root_rank: the rank whose values all ranks get.
    """
    if isinstance(params, dict):
        named = sorted(params.items(), key=lambda item: str(item[0]))
    elif isinstance(params, torch.Tensor) or not hasattr(params, "__iter__"):
        raise ValueError(f"invalid params of type: {type(params)}")
    else:
        named = [entry if isinstance(entry, tuple) else (None, entry) for entry in params]
    handles = [
        broadcast_async_(tensor, root_rank, None if name is None else str(name))
        for name, tensor in named
        if torch.is_tensor(tensor)
    ]
    for handle in handles:
        synchronize(handle)


class _Tensor:
    """Stands for a tensor of the root's state while the rest of the state is pickled."""

    def __init__(self, tensor: torch.Tensor, number: int):
        self.number, self.shape, self.dtype = number, tuple(tensor.shape), tensor.dtype


class _Parameter:
    """Stands for a parameter, which is the key of its state."""

    def __init__(self, number: int):
        self.number = number


def broadcast_optimizer_state(optimizer, root_rank, model=None):
    """Gives the root's optimizer state and options (learning rate, ...) to all ranks.

    All ranks get exactly what the root has; if it has no state yet, none has any afterwards. No
    step is made, so parameters stay as they are. Call it after `broadcast_parameters`. Without
    state yet, parameters that have no gradient get one of zeros, as Horovod has always done.

    Args:
        optimizer: any `torch.optim.Optimizer`, wrapped by `DistributedOptimizer` or not, of the
            same parameter groups on all ranks.
        root_rank: the rank whose state all ranks get.
        model: (optional) the model, to tell which parameters have sparse gradients.

    Raises:
        ValueError: the parameter groups differ between ranks in number or in shapes.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    sent: list[torch.Tensor] = []
    _check_groups(optimizer)
    outline = _outline(optimizer, parameters, sent) if rank() == root_rank else None
    outline = broadcast_object(outline, root_rank, name="horovod.optimizer_state")
    if rank() == root_rank:
        _broadcast_all(sent, root_rank)
    else:
        _receive(optimizer, parameters, outline, root_rank)
    if not outline["state"]:
        _start_gradients(optimizer, parameters, model)


def _start_gradients(optimizer, parameters: list, model) -> None:
    modules = model.modules() if model is not None else ()
    sparse = {
        id(p) for m in modules if getattr(m, "sparse", False) is True for p in m.parameters(False)
    }
    for p in parameters:
        is_sparse = isinstance(optimizer, torch.optim.SparseAdam) or id(p) in sparse
        if p.requires_grad and p.grad is None and not is_sparse:
            p.grad = torch.zeros_like(p)


def _check_groups(optimizer) -> None:
    """Raises ValueError on all ranks if their parameter groups differ."""
    shapes = [[tuple(p.shape) for p in group["params"]] for group in optimizer.param_groups]
    of_rank = allgather_object(shapes, name="horovod.optimizer_groups")
    for other, found in enumerate(of_rank):
        if found != of_rank[0]:
            raise ValueError(
                "the optimizer's parameter groups differ between ranks: rank 0 has"
                f" {_described(of_rank[0])}, rank {other} has {_described(found)}"
            )


def _described(groups: list[list[tuple]]) -> str:
    return "groups of parameters of the shapes " + "; ".join(map(str, groups))


def _outline(optimizer, parameters: list, sent: list) -> dict[str, Any]:
    """State and options with a `_Tensor` for each tensor, which are appended to `sent`."""
    numbers = {id(p): i for i, p in enumerate(parameters)}
    state = [
        (_Parameter(numbers[id(key)]) if id(key) in numbers else key, _without_tensors(value, sent))
        for key, value in optimizer.state.items()
        if id(key) in numbers or not torch.is_tensor(key)
    ]
    options = [
        {
            k: _without_tensors(v, sent)
            for k, v in group.items()
            if k not in ("params", "param_names")
        }
        for group in optimizer.param_groups
    ]
    return {"options": options, "state": state}


def _without_tensors(value: Any, sent: list) -> Any:
    if torch.is_tensor(value):
        if value.layout is not torch.strided:
            return value
        sent.append(value)
        return _Tensor(value, len(sent) - 1)
    return _mapped(value, lambda inner: _without_tensors(inner, sent))


def _mapped(value: Any, function) -> Any:
    """A dict, list or tuple with the function applied to its values; anything else as it is."""
    if isinstance(value, dict):
        copy = value.copy()  # keeps a defaultdict's or OrderedDict's type
        copy.update({key: function(inner) for key, inner in value.items()})
        return copy
    if type(value) in (list, tuple):
        return type(value)(function(inner) for inner in value)
    return value


def _receive(optimizer, parameters: list, outline: dict[str, Any], root_rank: int) -> None:
    """Takes over the root's state; a tensor that fits already is kept and overwritten."""
    received: dict[int, torch.Tensor] = {}
    own = {id(key): value for key, value in optimizer.state.items() if torch.is_tensor(key)}
    state = []
    for key, value in outline["state"]:
        if isinstance(key, _Parameter):
            key = parameters[key.number]
        state.append((key, _with_tensors(value, own.get(id(key)), received)))
    for group, options in zip(optimizer.param_groups, outline["options"], strict=True):
        for name, value in options.items():
            group[name] = _with_tensors(value, group.get(name), received)
    _broadcast_all([received[i] for i in range(len(received))], root_rank)
    optimizer.state.clear()
    for key, value in state:
        optimizer.state[key] = value


def _with_tensors(value: Any, own: Any, received: dict[int, torch.Tensor]) -> Any:
    """The root's value with tensors to receive in; `own` is what stands here in its place."""
    if isinstance(value, _Tensor):
        fits = torch.is_tensor(own) and own.layout is torch.strided
        if not fits or tuple(own.shape) != value.shape or own.dtype != value.dtype:
            own = torch.empty(value.shape, dtype=value.dtype)
        received[value.number] = own
        return own
    if isinstance(value, dict):
        owned = own if isinstance(own, dict) else {}
        for key, inner in value.items():
            value[key] = _with_tensors(inner, owned.get(key), received)
        return value
    return _mapped(value, lambda inner: _with_tensors(inner, None, received))


def _broadcast_all(tensors: list[torch.Tensor], root_rank: int) -> None:
    broadcast_parameters(
        [(f"horovod.optimizer_state.{i}", tensor) for i, tensor in enumerate(tensors)], root_rank
    )


def broadcast_object(obj, root_rank=0, name=None, process_set: ProcessSet = global_process_set):
    """Gives the root's object to all ranks of the process set, by cloudpickle; of any size.

    Args:
        obj: on the root, what to send; on the others it has no effect.
        root_rank: counts in the global process set.
        name: the same on all ranks. Needed where several threads send objects at once.

    Returns:
        The root's object; on the root `obj` itself.
    """
    name = name or "broadcast_object"  # not the type's: the others often give None
    is_root = rank() == root_rank
    return objects.broadcast_object(obj, root_rank, name, is_root, set_id(process_set))


def allgather_object(obj, name=None, process_set: ProcessSet = global_process_set):
    """The objects of all ranks of the process set, in the order of ranks; of any size.

    `name` is the same on all ranks, and needed where several threads send objects at once.
    """
    name, process_set_id = name or "allgather_object", set_id(process_set)
    return objects.allgather_object(obj, name, process_set.size(), process_set_id)


keep_out(globals())
keep_out(vars(objects))
