"""The configuration of a training run: every field with its meaning, unit and bounds.

Field names are the flags with underscores (``--global-batch-size`` is ``global_batch_size``), in
TOML and in the ``config.json`` that a run writes and that ``--config`` reads back.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from hvdcore.config import Config
from textgen.data.config import DataFields
from textgen.model.config import PRESETS, LoraFields


class ModelFields(BaseModel):
    """The transformer: a preset, and what is changed in it."""

    model: str = "1m"
    """Name of a preset (``textgen models`` lists them)."""
    context_length: int = Field(128, ge=2, le=1_048_576)
    """Tokens that the model sees at once."""
    num_layers: int | None = Field(None, ge=1)
    num_heads: int | None = Field(None, ge=1)
    num_kv_heads: int | None = Field(None, ge=1)
    """Heads of keys and values; fewer than ``num_heads`` is grouped-query attention."""
    embed_dim: int | None = Field(None, ge=2)
    mlp_dim: int | None = Field(None, ge=1)
    attention_every: int | None = Field(None, ge=1)
    """1: every layer attends. n: each n-th; the others are gated short convolutions."""
    conv_kernel: int | None = Field(None, ge=1, le=64)
    """Tokens that a short convolution sees."""
    init_from: str | None = None
    """A run, a folder with a model, or a hub id, whose weights training starts from."""


class OptimizerFields(BaseModel):
    """How the weights are updated."""

    optimizer: Literal["muon", "adamw"] | None = None
    """``muon``: Muon for the matrices and AdamW for the rest. ``adamw``: AdamW for all. By default
    ``muon``; ``adamw`` where ``init_from`` is a model of transformers."""
    learning_rate: float | None = Field(None, gt=0.0)
    """Peak rate of the matrices (muon) or of everything (adamw, and all fine-tuning of a model of
    transformers). By default the optimizer's; 5e-5 in such fine-tuning, and 2e-4 with LoRA."""
    learning_rate_schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int | None = Field(None, ge=0)
    """Steps from zero to the peak rate; by default 2 % of the run."""
    final_learning_rate_fraction: float = Field(0.0, ge=0.0, le=1.0)
    weight_decay: float | None = Field(None, ge=0.0)
    """Decoupled weight decay; the default is the optimizer's."""
    momentum: float = Field(0.95, ge=0.0, lt=1.0)
    """Muon's, with Nesterov's look-ahead."""
    train_temperature: float = Field(1.0, gt=0.0, le=10.0)
    """What logits are divided by in the training loss, and nowhere else. A model trained below 1 is
    less sure of what it writes; the train curve shows the loss at this temperature."""
    clip_norm: float = Field(1.0, gt=0.0)
    """Global gradient norm above which gradients are scaled down."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the matrix products; ``auto`` is bfloat16 on a GPU that has it."""

    gradient_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What gradients and updates travel between ranks in. Weights and sums are float32."""


class RunFields(BaseModel):
    """How long, how often, where to."""

    epochs: int = Field(1, ge=1)
    """Passes over the train part; ``max_steps`` overrides it."""
    max_steps: int | None = Field(None, ge=1)
    """Optimizer updates in all."""
    global_batch_size: int = Field(32, ge=1)
    """Sequences in one update, over all ranks."""
    per_rank_batch_size: int | None = Field(None, ge=1)
    """Sequences that a rank computes at once, the rest accumulated. Default: all of its share."""
    eval_batch_size: int = Field(64, ge=1)
    """Sequences that a rank evaluates at once."""
    seed: int = Field(0, ge=0, lt=2**63)
    eval_every: int | None = Field(None, ge=1)
    """Steps between two evaluations; by default ten in a run."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Steps between two checkpoints; by default as ``eval_every``."""
    log_every: int = Field(10, ge=1)
    """Steps between two points of the train curves."""
    sample_tokens: int = Field(96, ge=0)
    """Tokens of the text that is written to TensorBoard at every evaluation; 0 writes none."""


class TrainConfig(DataFields, ModelFields, LoraFields, OptimizerFields, RunFields, Config):
    """All of it, frozen; unknown fields are refused."""

    @field_validator("model")
    @classmethod
    def _is_a_preset(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(f"give one of {', '.join(PRESETS)}")
        return name

    @model_validator(mode="after")
    def _lora_has_a_model(self) -> TrainConfig:
        if self.lora_rank is None and (self.lora_alpha or self.lora_targets):
            raise ValueError("lora_alpha and lora_targets need lora_rank; give --lora-rank too")
        if self.lora_rank is not None and self.init_from is None:
            raise ValueError("lora_rank needs a model to adapt; give --init-from too")
        return self

    @model_validator(mode="after")
    def _splits_leave_something(self) -> TrainConfig:
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"val_fraction {self.val_fraction} and test_fraction {self.test_fraction} leave "
                "nothing to train on; their sum must be below 1"
            )
        return self
