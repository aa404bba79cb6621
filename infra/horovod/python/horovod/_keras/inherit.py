"""What a distributed copy of an optimizer keeps that the configuration does not say.

That is the variables without weight decay, and the state of an optimizer that has trained already:
one of a loaded model, for instance.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

__all__ = ["inherit_exclusions", "inherit_state_when_built", "state_after_build"]

_ORIGIN = "_horovod_origin"


def inherit_exclusions(copy: Any, optimizer: Any) -> None:
    """Leave out of weight decay what `optimizer.exclude_from_weight_decay` named."""
    while optimizer is not None and copy is not None:
        for name, value in list(vars(optimizer).items()):
            if name.startswith("_exclude_from_weight_decay") and not name.endswith("_cache"):
                setattr(copy, name, value)
        optimizer, copy = (vars(o).get("inner_optimizer") for o in (optimizer, copy))


def inherit_state_when_built(copy: Any, optimizer: Any) -> None:
    """Have the copy go on with the optimizer's state if it is built for the same variables."""
    if getattr(optimizer, "built", False):
        copy.__dict__[_ORIGIN] = optimizer  # not by setattr: it is no part of the copy


def state_after_build(copy: Any) -> None:
    """Call it when a copy has been built: takes over what `inherit_state_when_built` noted.

    The learning rate stays the copy's own, which a script may have set in between.
    """
    origin = copy.__dict__.pop(_ORIGIN, None)
    if origin is None or not _same(origin._trainable_variables, copy._trainable_variables):
        return
    rates = {id(rate) for rate in _learning_rates(copy)}
    pairs = zip(copy.variables, origin.variables, strict=True)
    with tf.init_scope():  # now, and not at each step of a graph that is being made
        for own, value in [pair for pair in pairs if id(pair[0]) not in rates]:
            own.assign(value)


def _same(some: Any, others: Any) -> bool:
    return [id(v) for v in some] == [id(v) for v in others]


def _learning_rates(optimizer: Any) -> list[Any]:
    found = []
    while optimizer is not None:
        found.append(vars(optimizer).get("_learning_rate"))
        optimizer = vars(optimizer).get("inner_optimizer")
    return found
