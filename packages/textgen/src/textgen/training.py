"""What a training run is made of: corpus, model, optimizer, and where the run stands."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hvdcore.errors import UserError
from hvdcore.schedule import check_schedule, learning_rate_at
from hvdcore.sharding import Position, check_shardable, num_steps
from hvdcore.torch import ShardedOptimizer, broadcast_parameters
from textgen.architecture import ModelConfig
from textgen.blocks import TokenBlocks, phase_of_epoch
from textgen.memory import check_memory
from textgen.model import Transformer
from textgen.optimizers import OptimizerConfig, build_optimizer, update_cost
from textgen.presets import preset
from textgen.saved_model import load_model, model_folder

if TYPE_CHECKING:
    from hvdcore.world import World
    from textgen.config import TrainConfig
    from textgen.prepare import Corpus


@dataclass
class Training:
    """A run in memory. ``position`` and ``step`` move; the rest is fixed."""

    config: TrainConfig
    world: World
    corpus: Corpus
    model: Transformer
    optimizer: ShardedOptimizer
    device: torch.device
    total_steps: int
    position: Position
    peak_learning_rate: float
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
        return self.peak_learning_rate * self.learning_rate_fraction()

    def every(self, steps: int | None) -> int:
        """``steps``, or a tenth of the run."""
        return steps or max(1, self.total_steps // 10)


def build_training(config: TrainConfig, corpus: Corpus, world: World) -> Training:
    """Everything at step 0, the same on every rank. Every rank must call.

    Raises:
        UserError: the model's shape, the batch or the schedule cannot be.
    """
    check_shardable(
        num_train_blocks(corpus), config.global_batch_size, world.size, unit="token blocks"
    )
    torch.manual_seed(config.seed)
    device = pick_device(world)
    model = first_model(config, corpus, world).to(device)
    broadcast_parameters(model)
    settings = optimizer_config(config)
    training = Training(
        config=config,
        world=world,
        corpus=corpus,
        model=model,
        optimizer=ShardedOptimizer(
            model,
            lambda named: build_optimizer(named, settings),
            clip_norm=config.clip_norm,
            cost=update_cost(settings),
        ),
        device=device,
        total_steps=total_steps(config, num_train_blocks(corpus)),
        position=Position(),
        peak_learning_rate=settings.learning_rate,
    )
    check_schedule(
        peak=settings.learning_rate,
        warmup_steps=training.warmup_steps,
        total_steps=training.total_steps,
        final_fraction=config.final_learning_rate_fraction,
    )
    return training


def first_model(config: TrainConfig, corpus: Corpus, world: World) -> Transformer:
    """The model at step 0: freshly drawn, or with the weights of ``init_from``.

    Raises:
        UserError: the shape cannot be or does not fit this machine, or ``init_from`` is no model
            for this corpus.
    """
    if config.init_from is None:
        shape = model_config(config, corpus.tokenizer.vocab_size)
        check_memory(shape.num_parameters, world.local_size)
        return Transformer(shape)
    folder = model_folder(Path(config.init_from))
    loaded, tokenizer = load_model(folder)
    if tokenizer.sha256 != corpus.tokenizer.sha256:
        raise UserError(f"init_from: its tokenizer is another; give --tokenizer {folder} as well")
    model = Transformer(replace(loaded.config, context_length=config.context_length))
    model.load_state_dict(loaded.state_dict())
    return model


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


def model_config(config: TrainConfig, vocab_size: int) -> ModelConfig:
    """The preset with what the configuration changes in it.

    Raises:
        UserError: no such preset, or the changes do not make a model.
    """
    return preset(config.model).config(
        vocab_size,
        context_length=config.context_length,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        embed_dim=config.embed_dim,
        mlp_dim=config.mlp_dim,
        attention_every=config.attention_every,
        conv_kernel=config.conv_kernel,
    )


def optimizer_config(config: TrainConfig) -> OptimizerConfig:
    """The optimizer's settings, its own defaults where the configuration is silent."""
    chosen = {
        name: value
        for name, value in (
            ("learning_rate", config.learning_rate),
            ("weight_decay", config.weight_decay),
            ("momentum", config.momentum),
        )
        if value is not None
    }
    return OptimizerConfig.of(config.optimizer, **chosen)


def pick_device(world: World) -> torch.device:
    """The rank's GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        device = torch.device("cuda", world.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
        return device
    return torch.device("cpu")
