"""Checkpoints of a classifier's training: everything that is needed to resume it exactly.

Model, moving average and optimizer are the same on every rank, and nothing is drawn from a hidden
random state, so a checkpoint does not depend on the number of ranks that wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvdcore.classifier.keras.pretraining import read_variables, write_variables
from hvdcore.classifier.keras.state import TrainState
from hvdcore.keras.collectives import barrier
from hvdcore.run.checkpoint import Checkpoint, require_same_run, save
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.heartbeat import beat
from hvdcore.sharding import Position

MODEL = "model.safetensors"
AVERAGED = "averaged.safetensors"
OPTIMIZER = "optimizer.safetensors"
# A checkpoint's name for it before it was called `evals_since_best`.
EARLIER_EVALS_SINCE_BEST = "evaluations_without_gain"


def write_checkpoint(state: TrainState, run: RunDir, *, is_best: bool = False) -> None:
    """Save the state after ``state.step`` updates. Every rank must call."""
    beat("checkpoint", state.step)

    def write(folder: Path) -> None:
        write_variables(state.model.weights, folder / MODEL)
        write_variables(state.averaged.weights, folder / AVERAGED)
        write_variables(state.optimizer.variables, folder / OPTIMIZER)

    if state.world.is_root:
        best = state.best_val_loss
        meta = {
            "position": state.position.to_json(),
            "seconds": state.seconds,
            "best_val_loss": None if best == math.inf else best,
            "evals_since_best": state.evals_since_best,
            **state.run_fingerprint(),
        }
        save(run.checkpoints, state.step, write, meta=meta, is_best=is_best)
    barrier()  # no rank may continue or exit before the checkpoint is complete


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
