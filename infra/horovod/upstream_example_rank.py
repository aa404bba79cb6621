"""One rank of an example of upstream's: runs the script and saves the weights that it trained.

python upstream_example_rank.py FOLDER FRAMEWORK SCRIPT ARGUMENTS...

What an optimizer is given to train is what is saved, in ``FOLDER/weights.RANK.npz``, with a value
that says whether it changed. FRAMEWORK is ``torch`` or ``keras``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Trained = dict[int, tuple[Any, np.ndarray]]
"""By identity: a variable, kept alive, and its value when an optimizer was first given it."""

DECLARED: list[Any] = []
"""Libraries of operations, which PyTorch forgets when they are collected."""


def torch_value(variable: Any) -> np.ndarray:
    return variable.detach().cpu().numpy().copy()


def watch_torch(trained: Trained) -> None:
    """Remembers what each optimizer of PyTorch is given."""
    import torch

    before = torch.optim.Optimizer.__init__

    @functools.wraps(before)
    def init(optimizer: Any, *arguments: Any, **options: Any) -> None:
        before(optimizer, *arguments, **options)
        for group in optimizer.param_groups:
            for variable in group["params"]:
                trained.setdefault(id(variable), (variable, torch_value(variable)))

    torch.optim.Optimizer.__init__ = init


def keras_value(variable: Any) -> np.ndarray:
    return np.array(variable.numpy())


def watch_keras(trained: Trained) -> None:
    """Remembers what each optimizer of Keras is built for: of Keras 3, and of Keras 2 if asked."""
    import tensorflow as tf

    def watch(optimizers: Any) -> None:
        owner = next(cls for cls in optimizers.Optimizer.__mro__ if "build" in vars(cls))
        before = owner.build

        @functools.wraps(before)
        def build(optimizer: Any, variables: Any, *more: Any) -> Any:
            with tf.init_scope():
                for variable in variables:
                    trained.setdefault(id(variable), (variable, keras_value(variable)))
            return before(optimizer, variables, *more)

        owner.build = build

    watch(importlib.import_module("keras").optimizers)
    if os.environ.get("TF_USE_LEGACY_KERAS") == "1":
        watch(importlib.import_module("tf_keras").optimizers)


def take_made_data_for_downloaded() -> None:
    """Keras compares a cached file with the digest of the real one; the made one has another."""
    names = ["keras.src.utils.file_utils"]
    if os.environ.get("TF_USE_LEGACY_KERAS") == "1":
        names.append("tf_keras.src.utils.data_utils")
    for name in names:
        importlib.import_module(name).validate_file = lambda *_, **__: True


def declare_vision_operations() -> None:
    """Lets torchvision be imported if its compiled part is for another PyTorch.

    The one on the index is compiled for CUDA; beside a PyTorch without CUDA its import ends at the
    first operation that it expects to be registered. The examples use its data sets and models.
    """
    import torch

    origin = importlib.util.find_spec("torchvision")
    if origin is None or origin.origin is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        text = (Path(origin.origin).parent / "_meta_registrations.py").read_text()
        library = torch.library.Library("torchvision", "DEF")
        for name in sorted(set(re.findall(r'register_\w+\("(?:torchvision::)?(\w+)"', text))):
            library.define(f"{name}(Tensor given) -> Tensor")
        DECLARED.append(library)


def save(folder: Path, trained: Trained, value: Callable[[Any], np.ndarray]) -> None:
    """Writes the weights as they are now."""
    rank = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("HOROVOD_RANK") or "0"
    now = [(value(variable), first) for variable, first in trained.values()]
    changed = any(not np.array_equal(last, first) for last, first in now)
    np.savez(folder / f"weights.{rank}.npz", *(last for last, _ in now), changed=changed)


def main(folder: Path, framework: str, script: str, *arguments: str) -> None:
    """Runs the script as ``__main__`` and saves its weights if it came to its end."""
    trained: Trained = {}
    if framework == "torch":
        declare_vision_operations()
        watch_torch(trained)
    else:
        take_made_data_for_downloaded()
        watch_keras(trained)
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    save(folder, trained, torch_value if framework == "torch" else keras_value)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
