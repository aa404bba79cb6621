"""How an optimizer is wrapped: a class derived from its own, names for its parameters, pickling."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

from horovod.torch.operations.basics import is_initialized, number_of_starts

import torch

_OVERRIDDEN = ("step", "zero_grad", "load_state_dict")


def wrap(
    optimizer: torch.optim.Optimizer, mixin: type, options: dict[str, Any], copied: bool = False
):
    """An optimizer of a class made of `mixin` and the optimizer's own, with the same contents.

    The optimizer's constructor is not called, so any arguments may be its own. Parameter groups
    and state are shared with it: a scheduler that was made for it drives the wrapped one too.
    """
    if hasattr(type(optimizer), "_wrapped_class"):
        raise ValueError("the optimizer is wrapped by DistributedOptimizer already")
    cls = _class_of(mixin, type(optimizer))
    wrapped = cls.__new__(cls)
    # A scheduler leaves its own `step`, which is the unwrapped one's, in the object.
    contents = {k: v for k, v in vars(optimizer).items() if k not in _OVERRIDDEN}
    wrapped.__dict__.update(contents)
    wrapped._copied = copied
    wrapped._start(options)
    wrapped._own_attributes = {*vars(wrapped), "_own_attributes"} - set(contents)
    return wrapped


@functools.cache
def _class_of(mixin: type, base: type) -> type:
    body = {
        "_wrapped_class": base,
        "_mixin": mixin,
        "__module__": mixin.__module__,
        "__doc__": base.__doc__,
        "__reduce_ex__": _reduce,
    }
    return type(base.__name__, (mixin, base), body)


def _reduce(optimizer, _protocol: int):
    """Pickled and copied as the optimizer that was wrapped, the names, and the options."""
    base = object.__new__(optimizer._wrapped_class)
    own = optimizer._own_attributes | set(_OVERRIDDEN)
    base.__dict__.update({k: v for k, v in vars(optimizer).items() if k not in own})
    names = optimizer._parameter_names
    ordered = [(names[p], p) for g in optimizer.param_groups for p in g["params"] if p in names]
    options = {**optimizer._options, "named_parameters": ordered}
    options["backward_passes_per_step"] = optimizer.backward_passes_per_step
    return _wrap_again, (base, optimizer._mixin, options)


def _wrap_again(base: torch.optim.Optimizer, mixin: type, options: dict[str, Any]):
    """The wrapped optimizer of a pickle; without a running Horovod the one that it wrapped.

    It keeps its names: when an optimizer is broadcast, the root goes on with its own.
    """
    return wrap(base, mixin, options, copied=True) if is_initialized() else base


def parameter_names(optimizer, named_parameters) -> dict[torch.Tensor, str]:
    """A name for each parameter: those given, or made of its place.

    ValueError if names are no pairs, are given twice, or only some parameters have one.
    """
    if named_parameters is None:
        named_parameters = [
            (f"allreduce.noname.{i}.{j}", p)
            for i, group in enumerate(optimizer.param_groups)
            for j, p in enumerate(group["params"])
        ]
    named_parameters = list(named_parameters)
    if any(not isinstance(pair, tuple) for pair in named_parameters):
        raise ValueError(
            "named_parameters should be a sequence of tuples (name, parameter), usually produced"
            " by model.named_parameters()."
        )
    twice = [name for name, count in Counter(n for n, _ in named_parameters).items() if count > 1]
    if twice:
        raise ValueError(
            "Parameter names in named_parameters must be unique. Found duplicates: "
            + ", ".join(map(str, twice))
        )
    named = {id(p) for _, p in named_parameters}
    nameless = [
        f"parameter {j} of group {i}, shape {tuple(p.shape)}"
        for i, group in enumerate(optimizer.param_groups)
        for j, p in enumerate(group["params"])
        if id(p) not in named
    ]
    if nameless:
        raise ValueError(
            "named_parameters was specified, but one or more model parameters were not named: "
            + "; ".join(nameless)
        )
    return {p: name for name, p in named_parameters}


_used: Counter[str] = Counter()
_used_since = [0]


def unique_names(names: dict[torch.Tensor, str]) -> dict[torch.Tensor, str]:
    """The names, with a number where an earlier optimizer has the same one.

    Two optimizers in flight, of a GAN's two networks for instance, must not share names. The count
    is the same on all ranks as all make the same optimizers, and begins anew with Horovod.
    """
    if _used_since[0] != number_of_starts():
        _used.clear()
        _used_since[0] = number_of_starts()
    unique = {}
    for p, name in names.items():
        unique[p] = name if _used[name] == 0 else f"{name}#{_used[name]}"
        _used[name] += 1
    return unique
