"""Owns the link to `horovod.torch`: checks the build, imports it late, starts and stops it."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from hvdcore.runtime.startup import running_world, start_horovod
from hvdcore.runtime.world import World


@cache
def engine() -> ModuleType:
    """`horovod.torch`, imported on first use.

    Raises:
        RuntimeError: Horovod is missing, or was built against another version of PyTorch.
    """
    _check_build()
    import horovod.torch

    module: ModuleType = horovod.torch
    return module


def init(*, timeline: bool = False) -> World:
    """Start Horovod and return this process's World. Every rank must call; again is harmless.

    With no launcher this is Horovod with one rank.

    Args:
        timeline: Horovod's timeline can be started and stopped while it runs; the same on all
            ranks, and in place of a HOROVOD_TIMELINE in the environment.

    Raises:
        RuntimeError: the build does not fit the installed PyTorch.
        UserError: fewer or more ranks came up than the launcher was asked for.
    """
    return start_horovod(engine(), {"HOROVOD_TIMELINE": "DYNAMIC"} if timeline else None)


def shutdown() -> None:
    """Stop Horovod. Every rank must call; without `init` it does nothing."""
    if started():
        engine().shutdown()


def started() -> bool:
    """Whether `init` has been called, and `shutdown` has not."""
    return engine.cache_info().currsize > 0 and bool(engine().is_initialized())


def current_world() -> World:
    """The World of the running Horovod.

    Raises:
        RuntimeError: `init` has not been called.
    """
    if not started():
        raise RuntimeError("call hvdcore.torch.init() first")
    return running_world(engine())


def _check_build() -> None:
    spec = importlib.util.find_spec("horovod")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise RuntimeError("Horovod is not installed; `pip install ./infra/horovod` builds it")
    described = Path(next(iter(folders)), "metadata.json")
    built = json.loads(described.read_text())["pytorch"] if described.is_file() else None
    installed = version("torch")
    if built is None or not _same_release(built, installed):
        raise RuntimeError(
            f"this Horovod was built against PyTorch {built or '(none)'}, but {installed} is "
            "installed; its extension fits one version only: install that version, or build "
            "again with `pip install --force-reinstall ./infra/horovod`"
        )


def _same_release(built: str, installed: str) -> bool:
    """2.13.0 and 2.13.0+cpu share their symbols; 2.13.0 and 2.13.1 need not."""
    return built.partition("+")[0] == installed.partition("+")[0]
