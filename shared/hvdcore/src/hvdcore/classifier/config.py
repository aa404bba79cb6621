"""The fields that the configurations of all classifiers share, with meaning, unit and bounds.

A package derives its configuration from these groups and sets the defaults that suit its models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from hvdcore.config import Config, Flag
from hvdcore.run.checkpoint_fields import CheckpointFields
from hvdcore.tracking.tracker.fields import TrackingFields

__all__ = [
    "ClassifierConfig",
    "OptimizerFields",
    "RunFields",
    "SampleNames",
    "SplitFields",
]

_WRITTEN_BY_A_RUN = {
    "epochs", "max_steps", "patience", "log_every", "val_fraction", "final_learning_rate_fraction",
}  # fmt: skip
"""Together only in the config.json of a run, which names every field."""


class SplitFields(Config):
    """How the data is split into train, val and test."""

    panel: ClassVar[str] = "Data"

    val_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Fraction of each class's train samples that is held out for val."""
    test_fraction: float = Field(0.15, ge=0.0, lt=1.0)
    """Fraction of each class that is held out for test, if the data has no test split."""

    def fractions_problem(self) -> str | None:
        """What is wrong with the fractions of val and test together, if anything."""
        if self.val_fraction + self.test_fraction < 1.0:
            return None
        return (
            f"val_fraction: {self.val_fraction} and test_fraction {self.test_fraction} leave "
            "nothing to train on; their sum must be below 1"
        )


class OptimizerFields(Config):
    """How the weights are updated: AdamW, or what a package has beside it, with linear warmup and
    cosine decay."""

    panel: ClassVar[str] = "Optimization"

    learning_rate: float | None = Field(None, gt=0.0)
    """Peak learning rate. Default: the model's."""
    warmup_steps: int | None = Field(None, ge=0)
    """Steps up to the peak learning rate. Default: 5 % of the run."""
    final_learning_rate_fraction: float = Field(0.0, ge=0.0, le=1.0)
    """Fraction of the peak learning rate that is left at the last step."""
    weight_decay: float = Field(0.05, ge=0.0)
    """Decoupled weight decay; biases and normalization parameters are excluded."""
    label_smoothing: float = Field(0.1, ge=0.0, lt=1.0)
    """Probability mass of the target that is spread evenly over all classes."""
    ema_decay: float = Field(0.998, ge=0.0, lt=1.0)
    """Decay per step of the moving average of the weights, which is what is evaluated and saved;
    0 evaluates the weights themselves."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute precision; ``auto`` is bfloat16 on a GPU and float32 elsewhere."""
    gradient_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of gradients while they are summed over ranks; the last two halve the bytes.
    Weights, losses and counts stay float32."""
    compiler: Literal["graph", "xla"] = "graph"
    """What compiles the gradients: TensorFlow's graph (faster on CPUs) or XLA."""


class RunFields(Config):
    """How long to train, and how often to evaluate, checkpoint and log."""

    panel: ClassVar[str] = "Optimization"

    epochs: int = Field(30, ge=1)
    """Passes over the train split; ``max_steps`` overrides it."""
    max_steps: int | None = Field(None, ge=1)
    """Optimizer updates in total."""
    global_batch_size: int = Field(32, ge=1)
    """Samples per update, over all ranks."""
    eval_batch_size: int = Field(50, ge=1)
    """Samples per batch and rank in evaluation."""
    seed: int = Field(0, ge=0, lt=2**31)
    eval_every: int | None = Field(None, ge=1)
    """Steps between evaluations. Default: one epoch, with at most 30 evaluations in a run."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Steps between checkpoints. Default: ``eval_every``."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many evaluations without a lower val loss. Default: never."""
    log_every: Annotated[int, Flag(panel="Output")] = Field(10, ge=1)
    """Steps between points of the train curves."""


class ClassifierConfig(SplitFields, OptimizerFields, RunFields, CheckpointFields, TrackingFields):
    """The fields of a package's configuration that the training loop reads."""

    earlier_values: ClassVar[dict[str, Any]] = {}
    """Of fields that were added: what an earlier run did, whose config.json does not name them."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_earlier_values(cls, values: Any) -> Any:
        if isinstance(values, dict) and set(values) >= _WRITTEN_BY_A_RUN:
            return {**cls.earlier_values, **values}
        return values

    data: str = "sample"
    model: str

    @property
    def num_train_samples(self) -> int | None:
        """How many of the train samples are used; None for all."""
        return None

    @property
    def uses_muon(self) -> bool:
        """Whether Muon updates the kernels of 2-D convolutions, and AdamW only the rest."""
        return False

    def resolved(self, num_train: int) -> ClassifierConfig:
        """With the values that follow from the number of train samples; here there are none."""
        return self

    def data_values(self) -> dict[str, Any]:
        """The values that decide how the data is prepared, as JSON."""
        return self.model_dump(mode="json", include={"data", *SplitFields.model_fields})


@dataclass(frozen=True)
class SampleNames:
    """What a trainer calls its samples in reports, progress bars and messages.

    Attributes:
        package: the distribution that trains, such as `image_cls`.
        sample: one sample, such as `image`.
        predict: what the command `predict` takes after the run, as an example.
    """

    package: str
    sample: str
    predict: str = "--help"

    @property
    def next_command(self) -> str:
        """The command to try after a training; `{run}` is the run directory."""
        return f"{self.package.replace('_', '-')} predict {{run}} {self.predict}"

    @property
    def samples(self) -> str:
        """The plural."""
        return f"{self.sample}s"

    @property
    def count_field(self) -> str:
        """The configuration's field for the number of train samples: `num_train_images`."""
        return f"num_train_{self.samples}"
