"""The configuration of a training run: every field with its meaning, unit and bounds.

Field names are the flags with underscores (``--global-batch-size`` is ``global_batch_size``), in
TOML and in the ``config.json`` that a run writes and that ``--config`` reads back.

What image_cls calls its samples.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from hvdcore.classifier.config import ClassifierConfig, SplitFields, Words
from hvdcore.config import Config

__all__ = [
    "WORDS",
]

MODELS = ("logreg", "mlp", "cnn", "mobilenet")


class DataFields(SplitFields):
    """What is read and how it is cut."""

    data: str = "sample"
    """``sample``, a folder of pictures, or a Kaggle data set (``owner/name``)."""
    image_size: int = Field(64, ge=16, le=512)
    """Pixels a side that pictures are resized to, once, for the cache."""
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


class TrainConfig(DataFields, ModelFields, AugmentationFields, ClassifierConfig, Config):
    """All of it, frozen; unknown fields are refused."""

    @model_validator(mode="after")
    def _fields_fit_together(self) -> TrainConfig:
        if problem := self.share_problem():
            raise ValueError(problem)
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


WORDS = Words(package="image_cls", command="image-cls", sample="picture", unit="images")
