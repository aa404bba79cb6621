"""What a checkpoint holds, and resuming from one, exactly, on any number of ranks.

Model, optimizer and random state are the same on every rank or gathered from their owners, so a
checkpoint does not depend on the number of ranks that wrote it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hvdcore.run.checkpoint import Checkpoint, save
from hvdcore.runtime.heartbeat import beat
from hvdcore.torch import ShardedOptimizer, barrier
from textgen.training.state import Counters

if TYPE_CHECKING:
    from textgen.config import TrainConfig
    from textgen.model.language_model import LanguageModel

__all__ = ["load_weights", "restore", "run_fingerprint", "write_checkpoint"]

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
OPTIMIZER_DESCRIPTION = "optimizer.json"
RANDOM = "random.safetensors"


def write_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: ShardedOptimizer,
    counters: Counters,
    fingerprint: Mapping[str, Any],
    *,
    is_root: bool,
    is_best: bool = False,
) -> None:
    """Save a run as it is after ``counters.step`` steps. Every rank must call.

    Args:
        folder: of the run's checkpoints.
        fingerprint: of the run.
        is_root: whether this rank is the one that writes.
        is_best: whether its val loss is the lowest so far.
    """
    beat("checkpoint", counters.step)
    optimizer.synchronize()
    gathered = optimizer.gather_state()

    def write(target: Path) -> None:
        save_file(_trained_weights(model), target / MODEL)
        save_file(gathered.tensors, target / OPTIMIZER)
        (target / OPTIMIZER_DESCRIPTION).write_text(json.dumps(gathered.description))
        save_file({"torch": torch.get_rng_state()}, target / RANDOM)

    if is_root:
        meta = {**counters.to_json(), **fingerprint}
        save(folder, counters.step, write, meta=meta, is_best=is_best)
    barrier()  # no rank continues, or exits, before the checkpoint is complete


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: ShardedOptimizer) -> Counters:
    """Set the model, the optimizer and PyTorch's random state back to the checkpoint's.

    The checkpoint must be of a run with the same fingerprint, as `start_run` makes sure.

    Returns:
        How far the run had come.
    """
    load_weights(model, checkpoint)
    description = json.loads(checkpoint.file(OPTIMIZER_DESCRIPTION).read_text())
    optimizer.load_state(load_file(checkpoint.file(OPTIMIZER)), description)
    torch.set_rng_state(load_file(checkpoint.file(RANDOM))["torch"])
    return Counters.from_json(checkpoint.step, checkpoint.meta)


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
