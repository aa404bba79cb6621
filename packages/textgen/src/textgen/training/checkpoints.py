"""What a checkpoint holds, and resuming from one, exactly, on any number of ranks.

Model, optimizer and random state are the same on every rank or gathered from their owners, so a
checkpoint does not depend on the number of ranks that wrote it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hvdcore.run.checkpoint import Checkpoint, CheckpointWriter
from hvdcore.runtime.heartbeat import beat
from hvdcore.torch import SavedState, ShardedOptimizer, broadcast_object, copy_to_host
from textgen.training.state import Counters

if TYPE_CHECKING:
    from hvdcore.run.checkpoint import Mirror
    from hvdcore.run.run_dir import RunDir
    from textgen.config import TrainConfig
    from textgen.model.language_model import LanguageModel
    from textgen.training.state import TrainState

__all__ = ["Checkpoints", "load_weights", "restore", "run_fingerprint"]

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
OPTIMIZER_DESCRIPTION = "optimizer.json"
RANDOM = "random.safetensors"


class Checkpoints:
    """Writes the checkpoints of a run, behind its next steps. Every rank makes one.

    Args:
        fingerprint: of the run.
        mirror: where each checkpoint is copied to as well; on rank 0.
    """

    def __init__(
        self, state: TrainState, run: RunDir, fingerprint: Mapping[str, Any], mirror: Mirror | None
    ) -> None:
        self._state, self._fingerprint = state, dict(fingerprint)
        self.writer = CheckpointWriter(
            run.checkpoints,
            keep=state.config.keep_checkpoints,
            in_background=state.config.checkpoint_in_background,
            mirror=mirror,
            is_root=state.world.is_root,
            broadcast=broadcast_object,
        )
        # In host memory, overwritten by each checkpoint.
        self._weights: dict[str, torch.Tensor] = {}
        self._optimizer: dict[str, torch.Tensor] = {}

    def write(self, *, is_best: bool = False) -> None:
        """Save the run as it is after ``counters.step`` steps. Every rank must call.

        Returns when the state is copied to memory and the checkpoint before is complete. All are
        complete after the writer's ``finish``.

        Args:
            is_best: whether its val loss is the lowest so far.
        """
        state, counters = self._state, self._state.counters
        beat("checkpoint", counters.step)
        self.writer.begin()
        state.optimizer.synchronize()
        gathered = state.optimizer.gather_state(self._optimizer)
        if state.world.is_root:
            # Frozen weights come from `init_from`.
            trained = {n: p for n, p in state.model.named_parameters() if p.requires_grad}
            copy_to_host(trained, self._weights)
            write = functools.partial(_write_files, self._weights, gathered, torch.get_rng_state())
            meta = {**counters.to_json(), **self._fingerprint}
            self.writer.save(counters.step, write, meta=meta, is_best=is_best)
        self.writer.end()


def _write_files(
    weights: Mapping[str, torch.Tensor], optimizer: SavedState, random: torch.Tensor, target: Path
) -> None:
    save_file(dict(weights), target / MODEL)
    save_file(optimizer.tensors, target / OPTIMIZER)
    (target / OPTIMIZER_DESCRIPTION).write_text(json.dumps(optimizer.description))
    save_file({"torch": random}, target / RANDOM)


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
