"""Models with their training that Keras 2 wrote into an .h5 file, read by Keras 3.

Keras 3 reads the network and its weights. What the model was compiled with has other names and
arguments today, and the optimizer's state another order; both are read here. An optimizer that
Horovod 0.28 or older had wrapped may stand in the file as `DistributedAdam` or `Custom>Adam`.
"""

from __future__ import annotations

import inspect
import json
import warnings
from typing import Any

import numpy as np

__all__ = ["is_of_keras2", "load"]

_OBSOLETE = ("jit_compile", "is_legacy_optimizer", "decay", "lr")


def is_of_keras2(filepath: Any) -> bool:
    """Whether a Keras before 3 wrote the .h5 file; False where there is no such file."""
    import h5py

    try:
        with h5py.File(filepath, "r") as file:
            version = file.attrs.get("keras_version", "")
    except OSError:
        return False
    version = version.decode() if isinstance(version, bytes) else str(version)
    return version[:2] in ("1.", "2.")


def load(keras: Any, filepath: Any, known: dict[str, Any]) -> Any:
    """The model, compiled as it was, with its optimizer's state.

    Args:
        keras: Keras 3.
        filepath: an .h5 file of Keras 2.
        known: names to optimizers, losses and what else is not Keras's.

    Raises:
        ValueError: the optimizer, a loss or a metric has a name that is not known.
    """
    import h5py

    model = keras.models.load_model(filepath, custom_objects=known, compile=False)
    with h5py.File(filepath, "r") as file:
        text = file.attrs.get("training_config")
        state = _saved_state(file)
    if text is None:
        return model
    config = json.loads(text)
    optimizer = _optimizer(keras, config["optimizer_config"], known)
    model.compile(
        optimizer,
        _made(config["loss"], keras.losses, known),
        metrics=_metrics(config.get("metrics"), keras, known),
        weighted_metrics=_metrics(config.get("weighted_metrics"), keras, known),
        loss_weights=config.get("loss_weights"),
    )
    optimizer.build(model.trainable_variables)
    if state and not _restored(optimizer, state):
        warnings.warn(
            f"{filepath}: the optimizer's state does not fit Keras 3's {type(optimizer).__name__}; "
            "the optimizer begins anew, from its configuration",
            stacklevel=4,
        )
    return model


def _class_named(name: str, module: Any, known: dict[str, Any], given_as: str) -> Any:
    name = name.rpartition(">")[2]
    plain = name.removeprefix("Distributed")
    for found in (known.get(name), getattr(module, name, None), getattr(module, plain, None)):
        if found is not None:
            return found
    raise ValueError(f"load_model: {name} is not Keras's; give it in {given_as}")


def _optimizer(keras: Any, saved: dict[str, Any], known: dict[str, Any]) -> Any:
    cls = _class_named(saved["class_name"], keras.optimizers, known, "custom_optimizers")
    config = {k: v for k, v in saved["config"].items() if k not in _OBSOLETE}
    rate = saved["config"].get("learning_rate", saved["config"].get("lr", 0.01))
    schedules = keras.optimizers.schedules
    if isinstance(rate, dict):
        schedule = _class_named(rate["class_name"], schedules, known, "custom_objects")
        rate = schedule.from_config({k: v for k, v in rate["config"].items() if v is not None})
    elif saved["config"].get("decay"):
        rate = schedules.InverseTimeDecay(rate, 1, saved["config"]["decay"])
    return cls(**{**config, "learning_rate": rate})


def _made(value: Any, module: Any, known: dict[str, Any]) -> Any:
    """A loss or a metric of what the file says: a name, a class and its arguments, or several."""
    if isinstance(value, list):
        return [_made(each, module, known) for each in value]
    if isinstance(value, dict) and "class_name" not in value:
        return {name: _made(each, module, known) for name, each in value.items()}
    if not isinstance(value, dict):
        return known.get(value, value)
    config = dict(value["config"])
    function = config.pop("fn", None)
    if value["class_name"] == "MeanMetricWrapper":
        made = known.get(function) or module.get(function)
        if isinstance(made, module.Metric):
            return type(made)(name=config["name"])
        return module.MeanMetricWrapper(made, name=config["name"])
    if config.get("reduction") == "auto":
        del config["reduction"]
    cls = _class_named(value["class_name"], module, known, "custom_objects")
    names = inspect.signature(cls).parameters
    return cls(**{k: v for k, v in config.items() if k in names})


def _metrics(saved: Any, keras: Any, known: dict[str, Any]) -> Any:
    made = _made(saved, keras.metrics, known)
    one_output = isinstance(made, list) and len(made) == 1 and isinstance(made[0], list)
    return made[0] if one_output else made


def _saved_state(file: Any) -> list[tuple[str, Any]]:
    """Names and values, in the order they were saved."""
    group = file.get("optimizer_weights")
    if group is None:
        return []
    names = [n.decode() if isinstance(n, bytes) else n for n in group.attrs["weight_names"]]
    return [(name, np.asarray(group[name])) for name in names]


def _restored(optimizer: Any, state: list[tuple[str, Any]]) -> bool:
    """Give the optimizer the state; False, and nothing is changed, if it does not fit.

    Kinds of state (momentum, velocity, ...) come in the same order in both Keras, but Keras 2 has
    either all of a kind, or all of a variable together.
    """
    named_by_kind = state[0][0].startswith("iteration")  # Adam/m/dense/kernel:0, or .../kernel/m:0
    kinds: dict[str, list[Any]] = {}
    for name, value in state[1:]:
        if np.ndim(value) or "/" in name:
            kind = name.split("/")[1] if named_by_kind else name.rpartition("/")[2]
            kinds.setdefault(kind, []).append(value)
    slots = _slots(optimizer)
    pairs = [pair for slot, kind in zip(slots, kinds.values(), strict=False)
             for pair in zip(slot, kind, strict=False)]  # fmt: skip
    whole = len(slots) == len(kinds) and len(pairs) == sum(map(len, slots)) == len(state) - 1
    if not whole or any(tuple(v.shape) != np.shape(value) for v, value in pairs):
        return False
    optimizer.iterations.assign(int(state[0][1]))
    for variable, value in pairs:
        variable.assign(value)
    return True


def _slots(optimizer: Any) -> list[list[Any]]:
    """The optimizer's state of its variables, one list for each kind; empty if it is another.

    Keras 3 calls the momentum of `dense/kernel` `dense_kernel_momentum`.
    """
    slots: dict[str, list[Any]] = {}
    for state in optimizer.variables:
        for variable in optimizer._trainable_variables:
            prefix = variable.path.replace("/", "_") + "_"
            if state.name.startswith(prefix) and state.shape == variable.shape:
                slots.setdefault(state.name.removeprefix(prefix), []).append(state)
                break
    return list(slots.values())
