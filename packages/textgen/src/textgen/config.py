"""The configuration of a training run: every field with its meaning, unit and bounds.

Field names are the flags with underscores (``--global-batch-size`` is ``global_batch_size``), in
TOML and in the ``config.json`` that a run writes and that ``--config`` reads back. A field's
docstring is the help text of its flag.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from hvdcore.config import Config, Flag
from hvdcore.run.checkpoint_fields import CheckpointFields
from hvdcore.tracking.tracker.fields import TrackingFields
from textgen.data.config import DataConfig
from textgen.model.config import PRESETS, LoraFields

__all__ = ["ModelFields", "OptimizerFields", "RunFields", "TrainConfig"]


class ModelFields(Config):
    """The model: a preset, with changes."""

    panel: ClassVar[str] = "Model"

    model: Annotated[str, Flag(choices=tuple(PRESETS))] = "1m"
    """Preset of the model; ``textgen models`` lists them."""
    num_layers: int | None = Field(None, ge=1)
    """Number of layers. Default: the preset's."""
    num_heads: int | None = Field(None, ge=1)
    """Attention heads. Default: the preset's."""
    num_kv_heads: int | None = Field(None, ge=1)
    """Heads of keys and values; fewer than ``--num-heads`` is grouped-query attention. Default: the
    preset's."""
    embed_dim: int | None = Field(None, ge=2)
    """Width of the embedding. Default: the preset's."""
    mlp_dim: int | None = Field(None, ge=1)
    """Width of the hidden layer of the MLP. Default: the preset's."""
    attention_every: int | None = Field(None, ge=1)
    """1: attention in every layer. N: in every N-th; the others are gated short convolutions.
    Default: the preset's."""
    conv_kernel: int | None = Field(None, ge=1, le=64)
    """Kernel size of the short convolutions, in tokens. Default: 3."""
    init_from: Annotated[str | None, Flag(metavar="RUN|PATH|HUB_ID", panel="Fine-tuning")] = None
    """Start from the weights and the tokenizer of a run, a saved model or a model of the hub."""


class OptimizerFields(Config):
    """Optimizer and learning rate schedule."""

    panel: ClassVar[str] = "Optimization"

    optimizer: Literal["muon", "adamw"] | None = None
    """``muon``: Muon for matrices and AdamW for the rest. ``adamw``: AdamW for all. Default: muon;
    adamw to fine-tune a transformers model."""
    learning_rate: float | None = Field(None, gt=0.0)
    """Peak learning rate of the matrices (muon) or of all parameters (adamw, and any fine-tuning of
    a transformers model). Default: the optimizer's own; 5e-5 when fine-tuning, 2e-4 with LoRA."""
    learning_rate_schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Decay of the learning rate after the warm-up."""
    warmup_steps: int | None = Field(None, ge=0)
    """Steps of linear warm-up to the peak rate. Default: 2 % of the run."""
    final_learning_rate_fraction: float = Field(0.0, ge=0.0, le=1.0)
    """Final learning rate, as a fraction of the peak."""
    weight_decay: float | None = Field(None, ge=0.0)
    """Decoupled weight decay. Default: 0.1."""
    momentum: float = Field(0.95, ge=0.0, lt=1.0)
    """Nesterov momentum of Muon."""
    train_temperature: float = Field(1.0, gt=0.0, le=10.0)
    """Temperature of the softmax in the training loss, and nowhere else. Below 1 the model becomes
    less confident; the train curve shows the loss at this temperature."""
    clip_norm: float = Field(1.0, gt=0.0)
    """Gradients are clipped to this global norm."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the matrix products; ``auto`` is bfloat16 on a GPU that supports it."""
    compile: bool = False
    """Compile the layers with torch.compile, which takes a minute at the start. Meant for GPUs; on
    a processor it needs a C++ compiler and has gained nothing."""
    gradient_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of gradients and of weight updates while they are sent between ranks; the last two
    halve the bytes. Weights and sums stay float32."""
    hierarchical: bool | None = None
    """Add up gradients within hosts before they are sent between hosts, where there are several
    with the same number of ranks, two or more. Default: on CPUs; on GPUs it has not been run."""


class RunFields(Config):
    """Length of the run, batch sizes, and how often it evaluates, saves and logs."""

    panel: ClassVar[str] = "Optimization"

    epochs: int = Field(1, ge=1)
    """Passes over the train split; ``max_steps`` overrides it."""
    max_steps: int | None = Field(None, ge=1)
    """Optimizer steps in total."""
    global_batch_size: int = Field(32, ge=1)
    """Sequences per optimizer step, over all ranks."""
    per_rank_batch_size: Annotated[int | Literal["auto"] | None, Flag(metavar="N|auto")] = None
    """Sequences per forward pass of a rank; gradients of the rest are accumulated. ``auto``: as
    many as fit into the free memory. Default: its whole share of the global batch."""
    eval_batch_size: int = Field(64, ge=1)
    """Sequences per forward pass of a rank in evaluation."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of weights, sample order and sampling."""
    eval_every: int | None = Field(None, ge=1)
    """Steps between evaluations; by default a tenth of the run."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Steps between checkpoints; by default ``eval_every``."""
    log_every: Annotated[int, Flag(panel="Output")] = Field(10, ge=1)
    """Steps between points of the train curves."""
    sample_tokens: Annotated[int, Flag(panel="Output")] = Field(96, ge=0)
    """Length of the sample that is written to TensorBoard at every evaluation; 0 for none."""

    @field_validator("per_rank_batch_size", mode="before")
    @classmethod
    def _is_a_number_or_auto(cls, rows: object) -> object:
        is_number = isinstance(rows, int) and not isinstance(rows, bool) and rows >= 1
        if rows is None or rows == "auto" or is_number:
            return rows
        raise ValueError("neither a number nor auto; give a whole number of 1 or more, or auto")


class TrainConfig(
    DataConfig,
    ModelFields,
    LoraFields,
    OptimizerFields,
    RunFields,
    CheckpointFields,
    TrackingFields,
):
    """All fields of a training run, frozen; unknown fields are refused."""

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
