"""What a checkpoint holds, and resuming from one, exactly, on any number of ranks.

Model, optimizer and random state are the same on every rank or gathered from their owners, so a
checkpoint does not depend on the number of ranks that wrote it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hvdcore.run.checkpoint import Checkpoint, require_same_run, save
from hvdcore.runtime.heartbeat import beat
from hvdcore.sharding import Position
from hvdcore.torch import barrier

if TYPE_CHECKING:
    from textgen.config import TrainConfig
    from textgen.model.language_model import LanguageModel
    from textgen.training.state import TrainState

__all__ = ["load_weights", "restore", "run_fingerprint", "write_checkpoint"]

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
OPTIMIZER_DESCRIPTION = "optimizer.json"
RANDOM = "random.safetensors"


def write_checkpoint(
    state: TrainState, folder: Path, fingerprint: Mapping[str, Any], *, is_best: bool = False
) -> None:
    """Save the run as it is after ``state.step`` steps. Every rank must call.

    Args:
        folder: of the run's checkpoints.
        fingerprint: of the run.
        is_best: whether its val loss is the lowest so far.
    """
    beat("checkpoint", state.step)
    state.optimizer.synchronize()
    optimizer = state.optimizer.gather_state()

    def write(target: Path) -> None:
        save_file(_trained_weights(state.model), target / MODEL)
        save_file(optimizer.tensors, target / OPTIMIZER)
        (target / OPTIMIZER_DESCRIPTION).write_text(json.dumps(optimizer.description))
        save_file({"torch": torch.get_rng_state()}, target / RANDOM)

    if state.world.is_root:
        meta = {
            "position": state.position.to_json(),
            "seconds": state.seconds,
            "best_val_loss": None if state.best_val_loss == math.inf else state.best_val_loss,
            **fingerprint,
        }
        save(folder, state.step, write, meta=meta, is_best=is_best)
    barrier()  # no rank continues, or exits, before the checkpoint is complete


def restore(state: TrainState, checkpoint: Checkpoint, fingerprint: Mapping[str, Any]) -> None:
    """Set the run back to the checkpoint.

    Raises:
        UserError: it belongs to another model, corpus or batch size.
    """
    require_same_run(fingerprint, checkpoint.meta)
    load_weights(state.model, checkpoint)
    description = json.loads(checkpoint.file(OPTIMIZER_DESCRIPTION).read_text())
    state.optimizer.load_state(load_file(checkpoint.file(OPTIMIZER)), description)
    torch.set_rng_state(load_file(checkpoint.file(RANDOM))["torch"])
    state.position = Position.from_json(checkpoint.meta["position"])
    state.step = checkpoint.step
    state.seconds = checkpoint.meta["seconds"]
    best = checkpoint.meta["best_val_loss"]
    state.best_val_loss = math.inf if best is None else best


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Load the model's trained weights only."""
    weights = load_file(checkpoint.file(MODEL))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[name])


def run_fingerprint(
    config: TrainConfig, model: LanguageModel, corpus: str, optimizer: str
) -> dict[str, Any]:
    """What a run and a checkpoint must have in common for the run to resume from it.

    Args:
        corpus: name of its folder in the cache, a digest of its content.
        optimizer: ``muon`` or ``adamw``.
    """
    return {
        "model": dataclasses.asdict(cast(Any, model.config)),
        "corpus": corpus,
        "global_batch_size": config.global_batch_size,
        "seed": config.seed,
        "optimizer": optimizer,
    }


def _trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    # Frozen weights come from `init_from`. Copies: parameters are views of one buffer.
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
