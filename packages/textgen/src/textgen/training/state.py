"""What a training run is made of: corpus, model, optimizer, and where the run stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from hvdcore.metrics.schedule import check_schedule, learning_rate_at
from hvdcore.sharding import Position, check_shardable, num_steps
from hvdcore.torch import ShardedOptimizer, broadcast_parameters
from hvdcore.torch.hardware import pick_device
from textgen.data.corpus import TokenBlocks, phase_of_epoch
from textgen.model.causal_lm import CausalLM
from textgen.model.language_model import LanguageModel
from textgen.training.init_model import starting_model
from textgen.training.optimizer import (
    FINE_TUNING_LEARNING_RATE,
    LORA_LEARNING_RATE,
    OptimizerConfig,
    build_optimizer,
    is_elementwise,
    update_cost,
)

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.config import TrainConfig
    from textgen.data.prepare import Corpus
    from textgen.pretrained.load import ModelPlace


@dataclass
class Training:
    """A run in memory. ``position`` and ``step`` move; the rest is fixed."""

    config: TrainConfig
    world: World
    corpus: Corpus
    model: LanguageModel
    optimizer: ShardedOptimizer
    device: torch.device
    total_steps: int
    position: Position
    settings: OptimizerConfig
    model_name: str
    step: int = 0
    """Updates made."""
    seconds: float = 0.0
    """Spent in the loop, evaluations and checkpoints included, over all resumed parts."""
    best_val_loss: float = math.inf
    """Of the evaluations so far, on all ranks alike."""

    @property
    def warmup_steps(self) -> int:
        if self.config.warmup_steps is None:
            return self.total_steps // 50
        return self.config.warmup_steps

    def learning_rate_fraction(self) -> float:
        """Of the peak, for the update that comes next."""
        return learning_rate_at(
            self.step,
            peak=1.0,
            warmup_steps=self.warmup_steps,
            total_steps=self.total_steps,
            final_fraction=self.config.final_learning_rate_fraction,
            shape=self.config.learning_rate_schedule,
        )

    def learning_rate(self) -> float:
        """Of the matrices (muon) or of everything (adamw), for the update that comes next."""
        return self.settings.learning_rate * self.learning_rate_fraction()

    def every(self, steps: int | None) -> int:
        """``steps``, or a tenth of the run."""
        return steps or max(1, self.total_steps // 10)


def build_training(
    config: TrainConfig, corpus: Corpus, world: World, place: ModelPlace | None = None
) -> Training:
    """Everything at step 0, the same on every rank. Every rank must call.

    Args:
        place: where the model of ``init_from`` lies.

    Raises:
        UserError: the model's shape, the batch or the schedule cannot be.
    """
    check_shardable(
        num_train_blocks(corpus), config.global_batch_size, world.size, unit="token blocks"
    )
    torch.manual_seed(config.seed)
    device = pick_device(world)
    model = starting_model(config, corpus.tokenizer, world, place).to(device)
    broadcast_parameters(model)
    adapted = place is not None and isinstance(model, CausalLM)
    settings = optimizer_config(config, is_fine_tuning=adapted)
    tables = model.table_names
    training = Training(
        config=config,
        world=world,
        corpus=corpus,
        model=model,
        optimizer=ShardedOptimizer(
            model,
            lambda named: build_optimizer(named, settings, tables),
            clip_norm=config.clip_norm,
            cost=update_cost(settings, tables),
            elementwise=is_elementwise(settings, tables),
            wire_dtype=getattr(torch, config.gradient_dtype),
        ),
        device=device,
        total_steps=total_steps(config, num_train_blocks(corpus)),
        position=Position(),
        settings=settings,
        model_name=place.name if place is not None and adapted else config.model,
    )
    check_schedule(
        peak=settings.learning_rate,
        warmup_steps=training.warmup_steps,
        total_steps=training.total_steps,
        final_fraction=config.final_learning_rate_fraction,
    )
    return training


def train_blocks(training: Training, epoch: int) -> TokenBlocks:
    """The train part as one epoch cuts it: each epoch starts its windows elsewhere.

    A window's first tokens have little context, and in every epoch they are other tokens.
    """
    length, seed = training.config.context_length, training.config.seed
    return training.corpus.train.at_phase(
        phase_of_epoch(length, seed, epoch) % num_phases(training)
    )


def num_train_blocks(corpus: Corpus) -> int:
    """Blocks of an epoch, the same for every phase."""
    blocks = corpus.train
    return max(len(blocks.at_phase(blocks.context_length - 1)), 1)


def num_phases(training: Training) -> int:
    """Phases that leave ``num_train_blocks``; 1 where the corpus is a block and a bit."""
    blocks = training.corpus.train
    spare = blocks.num_tokens - 1 - num_train_blocks(training.corpus) * blocks.context_length
    return min(spare + 1, blocks.context_length)


def total_steps(config: TrainConfig, num_blocks: int) -> int:
    """Updates of the whole run: ``max_steps``, or the steps of all epochs."""
    per_epoch = num_steps(num_blocks, config.global_batch_size, drop_last=False)
    return config.max_steps or config.epochs * per_epoch


def optimizer_config(config: TrainConfig, *, is_fine_tuning: bool = False) -> OptimizerConfig:
    """The optimizer's settings, its own defaults where the configuration is silent.

    Args:
        is_fine_tuning: of a model of transformers, which takes AdamW by default, and one gentle
            rate for all its weights.
    """
    chosen = {
        name: value
        for name, value in (
            ("learning_rate", config.learning_rate),
            ("weight_decay", config.weight_decay),
            ("momentum", config.momentum),
        )
        if value is not None
    }
    if is_fine_tuning:
        gentle = LORA_LEARNING_RATE if config.lora_rank else FINE_TUNING_LEARNING_RATE
        rate = chosen.setdefault("learning_rate", gentle)
        chosen |= {"embedding_learning_rate": rate, "norm_learning_rate": rate}
    default: Literal["muon", "adamw"] = "adamw" if is_fine_tuning else "muon"
    return OptimizerConfig.of(config.optimizer or default, **chosen)
