"""Checkpoints of a classifier's training: everything that is needed to resume it exactly.

Model, moving average and optimizer are the same on every rank, and nothing is drawn from a hidden
random state, so a checkpoint does not depend on the number of ranks that wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from hvdcore.classifier.keras.pretraining import read_variables
from hvdcore.classifier.keras.state import TrainState
from hvdcore.keras.collectives import broadcast_object
from hvdcore.run.checkpoint import Checkpoint, CheckpointWriter, Mirror, require_same_run
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.heartbeat import beat
from hvdcore.sharding import Position

MODEL = "model.safetensors"
AVERAGED = "averaged.safetensors"
OPTIMIZER = "optimizer.safetensors"
# A checkpoint's name for it before it was called `evals_since_best`.
EARLIER_EVALS_SINCE_BEST = "evaluations_without_gain"


class Checkpoints:
    """Writes the checkpoints of a run, behind its next steps. Every rank makes one.

    Args:
        mirror: where each checkpoint is copied to as well; on rank 0.
        in_background: None takes the configuration's.
    """

    def __init__(
        self,
        state: TrainState,
        run: RunDir,
        mirror: Mirror | None = None,
        in_background: bool | None = None,
    ) -> None:
        self._state, config = state, state.config
        if in_background is None:
            in_background = config.checkpoint_in_background
        self.writer = CheckpointWriter(
            run.checkpoints,
            keep=config.keep_checkpoints,
            in_background=in_background,
            mirror=mirror,
            is_root=state.world.is_root,
            broadcast=broadcast_object,
        )
        self._copies: dict[str, dict[str, Any]] = {}
        """File name -> arrays by name, overwritten by each checkpoint."""

    def write(self, *, is_best: bool = False) -> None:
        """Save the state after ``state.step`` updates. Every rank must call.

        Returns when the state is copied to memory and the checkpoint before is complete. All are
        complete after the writer's ``finish``.
        """
        state = self._state
        beat("checkpoint", state.step)
        self.writer.begin()
        if state.world.is_root:
            self._copy_variables()
            best = state.best_val_loss
            meta = {
                "position": state.position.to_json(),
                "seconds": state.seconds,
                "best_val_loss": None if best == math.inf else best,
                "evals_since_best": state.evals_since_best,
                **state.run_fingerprint(),
            }
            self.writer.save(state.step, self._write_files, meta=meta, is_best=is_best)
        self.writer.end()

    def _copy_variables(self) -> None:
        for name, variables in (
            (MODEL, self._state.model.weights),
            (AVERAGED, self._state.averaged.weights),
            (OPTIMIZER, self._state.optimizer.variables),
        ):
            copies = self._copies.setdefault(name, {})
            # By position: Keras numbers names by what else the process has built.
            for i, variable in enumerate(variables):
                array = np.asarray(variable.numpy())
                copy = copies.setdefault(f"{i:04d}", np.empty_like(array, order="C"))
                np.copyto(copy, array)

    def _write_files(self, folder: Path) -> None:
        for name, arrays in self._copies.items():
            save_file(arrays, folder / name)


def write_checkpoint(state: TrainState, run: RunDir, *, is_best: bool = False) -> None:
    """Save the state after ``state.step`` updates, and return when the checkpoint is complete.
    Every rank must call."""
    Checkpoints(state, run, in_background=False).write(is_best=is_best)


def restore(state: TrainState, checkpoint: Checkpoint) -> None:
    """Set the state to that of the checkpoint, on any number of ranks.

    Raises:
        UserError: it belongs to another model, other data or another batch size.
    """
    meta = checkpoint.meta
    require_same_run(state.run_fingerprint(), meta)
    read_variables(state.model.weights, checkpoint.file(MODEL))
    restore_averaged(state, checkpoint)
    read_variables(state.optimizer.variables, checkpoint.file(OPTIMIZER))
    state.position = Position.from_json(meta["position"])
    state.step = checkpoint.step
    state.seconds = meta["seconds"]
    state.evals_since_best = _evals_since_best(meta)
    best = meta["best_val_loss"]
    state.best_val_loss = math.inf if best is None else best


def restore_averaged(state: TrainState, checkpoint: Checkpoint) -> None:
    """Set only the weights that are evaluated and saved."""
    read_variables(state.averaged.weights, checkpoint.file(AVERAGED))


def _evals_since_best(meta: Mapping[str, Any]) -> int:
    return int(meta.get("evals_since_best", meta.get(EARLIER_EVALS_SINCE_BEST, 0)))
