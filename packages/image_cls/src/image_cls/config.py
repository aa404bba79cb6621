"""The configuration of a training run: every field with its meaning, unit and bounds.

Field names are the flags with underscores (``--global-batch-size`` is ``global_batch_size``), in
TOML and in the ``config.json`` that a run writes and that ``--config`` reads back.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from hvdcore.config import Config

MODELS = ("logreg", "mlp", "cnn", "mobilenet")


class DataFields(BaseModel):
    """What is read and how it is cut."""

    data: str = "sample"
    """``sample``, a folder of pictures, or a Kaggle data set (``owner/name``)."""
    image_size: int = Field(64, ge=16, le=512)
    """Pixels a side that pictures are resized to, once, for the cache."""
    val_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of each class's train pictures that goes to val."""
    test_fraction: float = Field(0.15, ge=0.0, lt=1.0)
    """Share of each class that goes to test, where the data brings no test part of its own."""
    num_train_images: int | None = Field(None, ge=1)
    """Train on so many pictures, as many of each class; the rest stays unused. Default: all."""


class ModelFields(BaseModel):
    """The model."""

    model: Literal["logreg", "mlp", "cnn", "mobilenet"] = "cnn"
    weights: str | None = None
    """For ``mobilenet``: a weights file of Keras Applications (.h5, .keras), or ``imagenet``."""


class AugmentationFields(BaseModel):
    """How a train picture is changed, anew in each epoch."""

    augment: bool | None = None
    """Flip, crop, rotate, colour, erase and mix; by default for ``cnn`` and ``mobilenet`` only."""
    crop_area: float = Field(0.35, gt=0.0, le=1.0)
    """Smallest share of the picture that a crop keeps."""
    rotation: float = Field(10.0, ge=0.0, le=180.0)
    """Largest rotation in degrees, to either side."""
    colour: float = Field(0.3, ge=0.0, lt=1.0)
    """Largest relative change of contrast and saturation; brightness changes by 0.7 of it."""
    erase: float = Field(0.25, ge=0.0, le=1.0)
    """Probability that a rectangle is made grey."""
    mixup: float = Field(0.5, ge=0.0, le=1.0)
    """Probability that a picture is blended with another one, and its label with it."""
    label_smoothing: float = Field(0.1, ge=0.0, lt=1.0)
    """Probability that the target leaves to all classes alike."""


class OptimizerFields(BaseModel):
    """How the weights are updated: AdamW, warm-up and cosine."""

    learning_rate: float | None = Field(None, gt=0.0)
    """Peak rate; the default is the model's."""
    warmup_steps: int | None = Field(None, ge=0)
    """Steps up to the peak rate; by default 5 % of the run."""
    final_learning_rate_fraction: float = Field(0.0, ge=0.0, le=1.0)
    weight_decay: float = Field(0.05, ge=0.0)
    """Decoupled weight decay; biases and normalisation are left out."""
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
    """Pictures in one update, over all ranks."""
    eval_batch_size: int = Field(50, ge=1)
    """Pictures that a rank evaluates at once."""
    seed: int = Field(0, ge=0, lt=2**31)
    eval_every: int | None = Field(None, ge=1)
    """Steps between two evaluations; by default one an epoch, at most 30 in a run."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Steps between two checkpoints; by default as ``eval_every``."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many evaluations without a lower val loss. Default: never."""
    log_every: int = Field(10, ge=1)
    """Steps between two points of the train curves."""


class TrainConfig(DataFields, ModelFields, AugmentationFields, OptimizerFields, RunFields, Config):
    """All of it, frozen; unknown fields are refused."""

    @model_validator(mode="after")
    def _fields_fit_together(self) -> TrainConfig:
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"val_fraction: {self.val_fraction} and test_fraction {self.test_fraction} leave "
                "nothing to train on; their sum must be below 1"
            )
        if self.model == "mobilenet" and self.weights is None:
            raise ValueError(
                "weights: mobilenet is for transfer; give --weights FILE (.h5 or .keras), or "
                "imagenet to fetch them"
            )
        if self.model != "mobilenet" and self.weights is not None:
            raise ValueError(
                f"weights: {self.model} starts from random weights; give --model mobilenet"
            )
        return self

    @property
    def augments(self) -> bool:
        """Whether train pictures are changed."""
        return self.model in ("cnn", "mobilenet") if self.augment is None else self.augment
