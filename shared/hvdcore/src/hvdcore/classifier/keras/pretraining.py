"""Checkpoints of pretraining, so that a run that was stopped in it resumes in it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from hvdcore.keras.collectives import barrier, broadcast_object
from hvdcore.run.checkpoint import latest_valid, load, save
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger

__all__ = [
    "PretrainingCheckpoints",
    "read_variables",
    "write_variables",
]

logger = get_logger(__name__)

VARIABLES = "variables.safetensors"


def write_variables(variables: Sequence[Any], path: Path) -> None:
    """Write Keras variables to a safetensors file, by their position in the sequence."""
    # Not by name: Keras numbers names by what else the process has built.
    save_file({f"{i:04d}": np.array(v.numpy()) for i, v in enumerate(variables)}, path)


def read_variables(variables: Sequence[Any], path: Path) -> None:
    """Assign what `write_variables` wrote to variables of the same number and shapes."""
    tensors = load_file(path)
    for i, variable in enumerate(variables):
        variable.assign(tensors[f"{i:04d}"])


class PretrainingCheckpoints:
    """Saves and restores the state of pretraining. `start_run` checks that it is this run's.

    Args:
        fingerprint: what must be equal for a checkpoint to be resumed, as in `start_run`.

    Attributes:
        is_used: whether anything was saved or restored.
        seconds: since this was created, plus those of the run that was stopped.
    """

    def __init__(self, run: RunDir, fingerprint: Mapping[str, Any], world: World) -> None:
        self._folder = run.pretraining
        self._fingerprint, self._world = dict(fingerprint), world
        self.is_used = False
        self._seconds_before, self._began = 0.0, perf_counter()

    @property
    def seconds(self) -> float:
        return self._seconds_before + perf_counter() - self._began

    def restore(self, variables: Sequence[Any]) -> Mapping[str, Any] | None:
        """Assign the newest checkpoint to the variables. Every rank must call.

        Returns:
            The state that was saved with it; None if there is no checkpoint.
        """
        found = latest_valid(self._folder) if self._world.is_root else None
        path = broadcast_object("" if found is None else str(found.path))
        if not path:
            return None
        checkpoint = load(Path(path))
        read_variables(variables, checkpoint.file(VARIABLES))
        self.is_used = True
        self._seconds_before = float(checkpoint.meta["seconds"])
        if self._world.is_root:
            logger.info("pretraining: resuming from step %d", checkpoint.step)
        state: Mapping[str, Any] = checkpoint.meta["state"]
        return state

    def save(self, step: int, variables: Sequence[Any], state: Mapping[str, Any]) -> None:
        """Save the state after `step` updates. Every rank must call.

        Args:
            variables: all that training changes, the same on every rank.
            state: JSON values: everything else that is needed to resume.
        """
        beat("checkpoint", step)
        self.is_used = True
        if self._world.is_root:
            meta = {**self._fingerprint, "state": dict(state), "seconds": self.seconds}
            save(
                self._folder, step, lambda to: write_variables(variables, to / VARIABLES), 1,
                meta=meta,
            )  # fmt: skip
        barrier()  # no rank may continue or exit before the checkpoint is complete

    def delete(self) -> None:
        """Delete the checkpoints, once training has one of its own. Acts on rank 0."""
        if self._world.is_root:
            shutil.rmtree(self._folder, ignore_errors=True)
