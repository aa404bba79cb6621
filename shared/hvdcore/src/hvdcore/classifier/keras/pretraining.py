"""Checkpoints of what a model learns before its classes: a run stopped there goes on there.

Keras variables in a safetensors file, by their places.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from hvdcore.keras.collectives import any_rank, broadcast_object
from hvdcore.run.checkpoint import latest_valid, load, save
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger

__all__ = [
    "Pretraining",
    "read_variables",
    "write_variables",
]


def write_variables(variables: Sequence[Any], path: Path) -> None:
    """Write them as they are."""
    # By place: Keras numbers names by what else the process has built.
    save_file({f"{i:04d}": np.array(v.numpy()) for i, v in enumerate(variables)}, path)


def read_variables(variables: Sequence[Any], path: Path) -> None:
    """Assign what `write_variables` wrote of as many variables of the same shapes."""
    tensors = load_file(path)
    for i, variable in enumerate(variables):
        variable.assign(tensors[f"{i:04d}"])


_logger = get_logger(__name__)
_VARIABLES = "variables.safetensors"


class Pretraining:
    """Where a task keeps how far its pretraining is; `start_run` sees to it that it is this run's.

    Args:
        identity: what must be the same for a checkpoint to be taken up, as in `start_run`.

    Attributes:
        is_used: whether something was kept or found.
        seconds: since this was made, and before in the run that was stopped.
    """

    def __init__(self, run: RunDir, identity: Mapping[str, Any], world: World) -> None:
        self._folder = run.pretraining
        self._identity, self._world = dict(identity), world
        self.is_used = False
        self._before, self._began = 0.0, perf_counter()

    @property
    def seconds(self) -> float:
        return self._before + perf_counter() - self._began

    def restore(self, variables: Sequence[Any]) -> Mapping[str, Any] | None:
        """The newest state that was kept, its variables assigned; None: there is none. Every rank
        must call.
        """
        found = latest_valid(self._folder) if self._world.is_root else None
        path = broadcast_object("" if found is None else str(found.path))
        if not path:
            return None
        checkpoint = load(Path(path))
        read_variables(variables, checkpoint.file(_VARIABLES))
        self.is_used = True
        self._before = float(checkpoint.meta["seconds"])
        if self._world.is_root:
            _logger.info("pretraining: going on from step %d", checkpoint.step)
        state: Mapping[str, Any] = checkpoint.meta["state"]
        return state

    def keep(self, step: int, variables: Sequence[Any], state: Mapping[str, Any]) -> None:
        """Keep where it stands after `step` updates. Every rank must call.

        Args:
            variables: all that moves, alike on every rank.
            state: JSON values: all else that is needed to go on.
        """
        beat("checkpoint", step)
        self.is_used = True
        if self._world.is_root:
            meta = {**self._identity, "state": dict(state), "seconds": self.seconds}
            save(
                self._folder, step, lambda to: write_variables(variables, to / _VARIABLES), 1,
                meta=meta,
            )  # fmt: skip
        any_rank(False)  # nobody goes on, or leaves, before it is whole

    def discard(self) -> None:
        """Delete what was kept: the training has a checkpoint of its own. Rank 0 does it."""
        if self._world.is_root:
            shutil.rmtree(self._folder, ignore_errors=True)
