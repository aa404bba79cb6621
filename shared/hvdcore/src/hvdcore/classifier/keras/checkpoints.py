"""What a checkpoint of a classifier holds, and taking it up again: everything, to the bit.

Model, running average and optimizer are the same on every rank, and nothing is drawn from a
hidden random state, so a checkpoint does not know how many ranks wrote it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hvdcore.classifier.keras.pretraining import read_variables, write_variables
from hvdcore.classifier.keras.state import Training
from hvdcore.keras.collectives import any_rank
from hvdcore.run.checkpoint import Checkpoint, require_same_run, save
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.heartbeat import beat
from hvdcore.sharding import Position

MODEL = "model.safetensors"
AVERAGED = "averaged.safetensors"
OPTIMIZER = "optimizer.safetensors"


def write_checkpoint(training: Training, run: RunDir, *, is_best: bool = False) -> None:
    """Save the run as it stands after ``training.step`` updates. Every rank must call."""
    beat("checkpoint", training.step)

    def write(folder: Path) -> None:
        write_variables(training.model.weights, folder / MODEL)
        write_variables(training.averaged.weights, folder / AVERAGED)
        write_variables(training.optimizer.variables, folder / OPTIMIZER)

    if training.world.is_root:
        best = training.best_val_loss
        meta = {
            "position": training.position.to_json(),
            "seconds": training.seconds,
            "best_val_loss": None if best == math.inf else best,
            "evaluations_without_gain": training.evaluations_without_gain,
            **identity(training),
        }
        save(run.checkpoints, training.step, write, meta=meta, is_best=is_best)
    any_rank(False)  # nobody goes on, or leaves, before the checkpoint is whole


def restore(training: Training, checkpoint: Checkpoint) -> None:
    """Bring the run to where the checkpoint was written, on any number of ranks.

    Raises:
        UserError: it belongs to another model, other data or another batch.
    """
    require_same_run(identity(training), checkpoint.meta)
    read_variables(training.model.weights, checkpoint.file(MODEL))
    restore_weights(training, checkpoint)
    read_variables(training.optimizer.variables, checkpoint.file(OPTIMIZER))
    training.position = Position.from_json(checkpoint.meta["position"])
    training.step = checkpoint.step
    training.seconds = checkpoint.meta["seconds"]
    training.evaluations_without_gain = checkpoint.meta["evaluations_without_gain"]
    best = checkpoint.meta["best_val_loss"]
    training.best_val_loss = math.inf if best is None else best


def restore_weights(training: Training, checkpoint: Checkpoint) -> None:
    """The weights that are evaluated and saved, alone."""
    read_variables(training.averaged.weights, checkpoint.file(AVERAGED))


def identity(training: Training) -> dict[str, Any]:
    """What must be the same for a checkpoint to be taken up."""
    config = training.config
    return {
        "model": config.model,
        "num_parameters": training.model.count_params(),
        **training.task.identity(),
        "global_batch_size": config.global_batch_size,
        "seed": config.seed,
    }
