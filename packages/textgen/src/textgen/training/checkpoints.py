"""What a checkpoint of textgen holds, and taking it up again: everything, to the bit.

Model, optimizer and random state are the same on every rank or gathered from their owners, so a
checkpoint does not know how many ranks wrote it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from hvdcore.run.checkpoint import Checkpoint, require_same_run, save
from hvdcore.runtime.heartbeat import beat
from hvdcore.sharding import Position
from hvdcore.torch import any_rank

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hvdcore.run.run_dir import RunDir
    from textgen.training.state import Training

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
OPTIMIZER_DESCRIPTION = "optimizer.json"
RANDOM = "random.safetensors"


def write_checkpoint(training: Training, run: RunDir, *, is_best: bool = False) -> None:
    """Save the run as it stands after ``training.step`` updates. Every rank must call."""
    beat("checkpoint", training.step)
    training.optimizer.synchronize()
    state = training.optimizer.gather_state()

    def write(folder: Path) -> None:
        save_file(_weights(training), folder / MODEL)
        save_file(state.tensors, folder / OPTIMIZER)
        (folder / OPTIMIZER_DESCRIPTION).write_text(json.dumps(state.description))
        save_file({"torch": torch.get_rng_state()}, folder / RANDOM)

    if training.world.is_root:
        meta = {
            "position": training.position.to_json(),
            "seconds": training.seconds,
            "best_val_loss": None if training.best_val_loss == math.inf else training.best_val_loss,
            **identity(training),
        }
        save(run.checkpoints, training.step, write, meta=meta, is_best=is_best)
    any_rank(False)  # nobody goes on, or leaves, before the checkpoint is whole


def restore(training: Training, checkpoint: Checkpoint) -> None:
    """Bring the run to where the checkpoint was written, on any number of ranks.

    Raises:
        UserError: it belongs to another model, corpus or batch.
    """
    require_same_run(identity(training), checkpoint.meta)
    restore_weights(training, checkpoint)
    description = json.loads(checkpoint.file(OPTIMIZER_DESCRIPTION).read_text())
    training.optimizer.load_state(load_file(checkpoint.file(OPTIMIZER)), description)
    torch.set_rng_state(load_file(checkpoint.file(RANDOM))["torch"])
    training.position = Position.from_json(checkpoint.meta["position"])
    training.step = checkpoint.step
    training.seconds = checkpoint.meta["seconds"]
    best = checkpoint.meta["best_val_loss"]
    training.best_val_loss = math.inf if best is None else best


def restore_weights(training: Training, checkpoint: Checkpoint) -> None:
    """The model's weights alone."""
    weights = load_file(checkpoint.file(MODEL))
    with torch.no_grad():
        for name, parameter in _trained(training):
            parameter.copy_(weights[name])


def identity(training: Training) -> dict[str, Any]:
    """What must be the same for a checkpoint to be taken up."""
    config = training.config
    return {
        "model": dataclasses.asdict(training.model.config),
        "corpus": training.corpus.path.name,
        "global_batch_size": config.global_batch_size,
        "seed": config.seed,
        "optimizer": training.settings.name,
    }


def _weights(training: Training) -> dict[str, torch.Tensor]:
    # Each on its own: parameters are views of one buffer, and tied ones are one tensor.
    return {name: parameter.detach().cpu().clone() for name, parameter in _trained(training)}


def _trained(training: Training) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """What training changes: frozen weights come from where the run started."""
    return (pair for pair in training.model.named_parameters() if pair[1].requires_grad)
