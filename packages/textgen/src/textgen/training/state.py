"""The state of a training run: data, model, optimizer, and the position in the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hvdcore.metrics.schedule import check_schedule, learning_rate_at
from hvdcore.sharding import Position, check_shardable, num_steps
from hvdcore.torch import ShardedOptimizer, broadcast_parameters
from hvdcore.torch.hardware import pick_device
from textgen.data.corpus import Corpus, TrainBlocks
from textgen.model.causal_lm import CausalLM
from textgen.model.language_model import LanguageModel
from textgen.training.init_model import build_model
from textgen.training.optimizer import (
    OptimizerConfig,
    build_optimizer,
    is_elementwise,
    optimizer_config,
    update_cost,
)

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.config import TrainConfig
    from textgen.pretrained.load import ResolvedModel

__all__ = ["Counters", "TrainState", "build_state", "product_dtype"]


@dataclass
class Counters:
    """How far a run has come; with the weights and the optimizer, all that changes in it."""

    position: Position = field(default_factory=Position)
    """In the train split."""
    step: int = 0
    """Optimizer steps made."""
    seconds: float = 0.0
    """Spent in the loop, evaluations and checkpoints included, before and after resuming."""
    best_val_loss: float = math.inf

    def to_json(self) -> dict[str, Any]:
        """The values in a checkpoint's meta data, which has the step of its own."""
        return {
            "position": self.position.to_json(),
            "seconds": self.seconds,
            "best_val_loss": None if self.best_val_loss == math.inf else self.best_val_loss,
        }

    @classmethod
    def from_json(cls, step: int, values: Mapping[str, Any]) -> Counters:
        """The reverse of `to_json`."""
        best = values["best_val_loss"]
        return cls(
            position=Position.from_json(values["position"]),
            step=step,
            seconds=values["seconds"],
            best_val_loss=math.inf if best is None else best,
        )


@dataclass
class TrainState:
    """A run in memory. Which objects it holds is fixed, but for ``counters``."""

    config: TrainConfig
    world: World
    corpus: Corpus
    train_blocks: TrainBlocks
    model: LanguageModel
    model_name: str
    optimizer: ShardedOptimizer
    optimizer_config: OptimizerConfig
    device: torch.device
    dtype: torch.dtype
    """Of the matrix products."""
    total_steps: int
    counters: Counters = field(default_factory=Counters)
    base: Path | None = None
    """The folder of the model that training started from."""
    own_loss: float | torch.Tensor = 0.0
    """Of this rank's share of the last batch, summed."""

    @property
    def is_done(self) -> bool:
        return self.counters.step == self.total_steps

    @property
    def warmup_steps(self) -> int:
        if self.config.warmup_steps is None:
            return self.total_steps // 50
        return self.config.warmup_steps

    def learning_rate_fraction(self) -> float:
        """Learning rate of the next step, as a fraction of the peak."""
        return learning_rate_at(
            self.counters.step,
            peak=1.0,
            warmup_steps=self.warmup_steps,
            total_steps=self.total_steps,
            final_fraction=self.config.final_learning_rate_fraction,
            shape=self.config.learning_rate_schedule,
        )

    def learning_rate(self) -> float:
        """Learning rate of the next step: of the matrices (muon) or of everything (adamw)."""
        return self.optimizer_config.learning_rate * self.learning_rate_fraction()

    def autocast(self) -> torch.autocast:
        """A context in which matrix products are of ``dtype``."""
        enabled = self.dtype == torch.bfloat16
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def every(self, steps: int | None) -> int:
        """An interval in steps; a tenth of the run where none is given."""
        return steps or max(1, self.total_steps // 10)


def build_state(
    config: TrainConfig,
    corpus: Corpus,
    world: World,
    init_from: ResolvedModel | None = None,
    recorded_rows: int | None = None,
) -> TrainState:
    """The state at step 0, the same on every rank. Every rank must call.

    Its configuration has a number where ``per_rank_batch_size`` is ``auto``.

    Args:
        init_from: the model that ``config.init_from`` names.
        recorded_rows: what ``auto`` was in the run that is resumed.

    Raises:
        UserError: the model, the batch size or the schedule is not valid.
    """
    blocks = TrainBlocks(corpus.train, config.seed)
    check_shardable(len(blocks), config.global_batch_size, world.size, unit="token blocks")
    torch.manual_seed(config.seed)
    device = pick_device(world)
    model = build_model(config, corpus.tokenizer, world, init_from).to(device)
    broadcast_parameters(model)
    is_fine_tuning = init_from is not None and isinstance(model, CausalLM)
    settings = optimizer_config(config, is_fine_tuning=is_fine_tuning)
    dtype = product_dtype(config.dtype, device)
    if config.per_rank_batch_size == "auto":
        from textgen.training.micro_batch import choose_rows  # loads what few runs need

        rows = choose_rows(
            model, config, settings, world, device=device, dtype=dtype, recorded=recorded_rows
        )
        config = config.model_copy(update={"per_rank_batch_size": rows})
    state = TrainState(
        config=config,
        world=world,
        corpus=corpus,
        train_blocks=blocks,
        model=model,
        model_name=init_from.name if init_from is not None and is_fine_tuning else config.model,
        optimizer=_sharded_optimizer(model, settings, config, device),
        optimizer_config=settings,
        device=device,
        dtype=dtype,
        total_steps=_total_steps(config, len(blocks)),
        base=None if init_from is None else init_from.folder,
    )
    check_schedule(
        peak=settings.learning_rate,
        warmup_steps=state.warmup_steps,
        total_steps=state.total_steps,
        final_fraction=config.final_learning_rate_fraction,
    )
    return state


def _sharded_optimizer(
    model: LanguageModel, settings: OptimizerConfig, config: TrainConfig, device: torch.device
) -> ShardedOptimizer:
    tables = model.table_names
    compiled: list[nn.Module] = []
    if config.compile:
        from textgen.model.compiled import check_compiler, compile_layers  # few runs need it

        check_compiler(device)
        compiled = compile_layers(model)
    return ShardedOptimizer(
        model,
        lambda named: build_optimizer(named, settings, tables),
        clip_norm=config.clip_norm,
        cost=update_cost(settings, tables),
        elementwise=is_elementwise(settings, tables),
        wire_dtype=getattr(torch, config.gradient_dtype),
        compiled=compiled,
        hierarchical=config.hierarchical,
    )


def _total_steps(config: TrainConfig, num_blocks: int) -> int:
    """``max_steps``, or the steps of all epochs."""
    per_epoch = num_steps(num_blocks, config.global_batch_size, drop_last=False)
    return config.max_steps or config.epochs * per_epoch


def product_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix products for `--dtype`: ``auto`` is bfloat16 on a GPU that supports it.

    Args:
        dtype: ``auto``, ``float32`` or ``bfloat16``.
    """
    if dtype == "auto":
        is_supported = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if is_supported else torch.float32
    return torch.bfloat16 if dtype == "bfloat16" else torch.float32
