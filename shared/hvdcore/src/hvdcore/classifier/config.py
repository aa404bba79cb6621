"""The fields that the configurations of all classifiers share, with meaning, unit and bounds.

A package derives its configuration from these groups and gives the defaults that suit its models.

What a trainer calls its samples, in reports, bars and messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

__all__ = [
    "ClassifierConfig",
    "OptimizerFields",
    "RunFields",
    "SplitFields",
    "Words",
]


class SplitFields(BaseModel):
    """How the data is cut into parts."""

    val_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of each class's train samples that goes to val."""
    test_fraction: float = Field(0.15, ge=0.0, lt=1.0)
    """Share of each class that goes to test, where the data brings no test part of its own."""

    def share_problem(self) -> str | None:
        """What is wrong with the shares of val and test together, if anything."""
        if self.val_fraction + self.test_fraction < 1.0:
            return None
        return (
            f"val_fraction: {self.val_fraction} and test_fraction {self.test_fraction} leave "
            "nothing to train on; their sum must be below 1"
        )


class OptimizerFields(BaseModel):
    """How the weights are updated: AdamW, warm-up and cosine."""

    learning_rate: float | None = Field(None, gt=0.0)
    """Peak rate; the default is the model's."""
    warmup_steps: int | None = Field(None, ge=0)
    """Steps up to the peak rate; by default 5 % of the run."""
    final_learning_rate_fraction: float = Field(0.0, ge=0.0, le=1.0)
    weight_decay: float = Field(0.05, ge=0.0)
    """Decoupled weight decay; biases and normalisation are left out."""
    label_smoothing: float = Field(0.1, ge=0.0, lt=1.0)
    """Probability that the target leaves to all classes alike."""
    ema_decay: float = Field(0.998, ge=0.0, lt=1.0)
    """Decay a step of the running average of the weights, which is what is evaluated and saved;
    0 evaluates the weights themselves."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the products; ``auto`` is bfloat16 on a GPU, float32 elsewhere."""
    compiler: Literal["graph", "xla"] = "graph"
    """What compiles the gradients: TensorFlow's graph (faster on CPUs) or XLA."""


class RunFields(BaseModel):
    """How long, how often, where to."""

    epochs: int = Field(30, ge=1)
    """Passes over the train part; ``max_steps`` overrides it."""
    max_steps: int | None = Field(None, ge=1)
    """Optimizer updates in all."""
    global_batch_size: int = Field(32, ge=1)
    """Samples in one update, over all ranks."""
    eval_batch_size: int = Field(50, ge=1)
    """Samples that a rank evaluates at once."""
    seed: int = Field(0, ge=0, lt=2**31)
    eval_every: int | None = Field(None, ge=1)
    """Steps between two evaluations; by default one an epoch, at most 30 in a run."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Steps between two checkpoints; by default as ``eval_every``."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many evaluations without a lower val loss. Default: never."""
    log_every: int = Field(10, ge=1)
    """Steps between two points of the train curves."""


class ClassifierConfig(SplitFields, OptimizerFields, RunFields):
    """What the training reads of a package's configuration."""

    data: str = "sample"
    model: str


@dataclass(frozen=True)
class Words:
    """The words of one package.

    Attributes:
        package: its distribution, `image_cls`.
        command: what is typed, `image-cls`.
        sample: one sample, `picture`.
        unit: what is counted by the second, in the plural: `images`.
    """

    package: str
    command: str
    sample: str
    unit: str

    @property
    def samples(self) -> str:
        return f"{self.sample}s"
