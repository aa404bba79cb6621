"""The configuration of a training run: every field with its meaning, unit and bounds.

Field names are the flags with underscores (``--global-batch-size`` is ``global_batch_size``), in
TOML and in the ``config.json`` that a run writes and that ``--config`` reads back.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from hvdcore.classifier.config import ClassifierConfig, SampleNames, SplitFields
from hvdcore.config import Config, Flag

__all__ = [
    "MODELS",
    "SAMPLE_NAMES",
    "AugmentationFields",
    "DataFields",
    "ModelFields",
    "TrainConfig",
]

MODELS = ("logreg", "mlp", "cnn", "mobilenet")
SAMPLE_NAMES = SampleNames(package="image_cls", sample="image", predict="IMAGE.jpg")


class DataFields(SplitFields):
    """Which images to use, and how they are prepared."""

    panel: ClassVar[str] = "Data"

    data: str = "sample"
    """``sample``, a folder of images, or a Kaggle data set (``owner/name``)."""
    image_size: int = Field(64, ge=16, le=512)
    """Height and width in pixels that images are resized to, once, for the cache."""
    num_train_images: int | None = Field(None, ge=1)
    """Train on this many images only, evenly over the classes. Default: all."""


class ModelFields(Config):
    """The model."""

    panel: ClassVar[str] = "Model"

    model: Literal["logreg", "mlp", "cnn", "mobilenet"] = "cnn"
    weights: Annotated[str | None, Flag(metavar="FILE|imagenet")] = None
    """Pretrained weights for mobilenet: a Keras Applications file (.h5, .keras), or imagenet."""


class AugmentationFields(Config):
    """How train images are augmented, anew in each epoch."""

    panel: ClassVar[str] = "Augmentation"

    augment: bool | None = None
    """Flip, crop, rotate, recolor, erase and mix train images. Default: only for cnn and
    mobilenet."""
    crop_area: float = Field(0.35, gt=0.0, le=1.0)
    """Smallest fraction of the image's area that a crop keeps."""
    rotation: float = Field(10.0, ge=0.0, le=180.0)
    """Largest rotation in degrees, in either direction."""
    colour: Annotated[float, Flag(alias="color")] = Field(0.3, ge=0.0, lt=1.0)
    """Largest relative change of contrast and saturation; brightness changes by 0.7 of it."""
    erase: float = Field(0.25, ge=0.0, le=1.0)
    """Probability that a rectangle is filled with gray (random erasing)."""
    mixup: float = Field(0.5, ge=0.0, le=1.0)
    """Probability that an image and its label are mixed with another one."""


class TrainConfig(DataFields, ModelFields, AugmentationFields, ClassifierConfig, Config):
    """All fields together, frozen; unknown fields are errors."""

    @model_validator(mode="after")
    def _check_fields_together(self) -> TrainConfig:
        if problem := self.fractions_problem():
            raise ValueError(problem)
        if self.model == "mobilenet" and self.weights is None:
            raise ValueError(
                "weights: mobilenet is for transfer; give --weights FILE (.h5 or .keras), or "
                "imagenet to download them"
            )
        if self.model != "mobilenet" and self.weights is not None:
            raise ValueError(
                f"weights: {self.model} starts from random weights; give --model mobilenet"
            )
        return self

    @property
    def augments(self) -> bool:
        """Whether train images are augmented."""
        return self.model in ("cnn", "mobilenet") if self.augment is None else self.augment

    @property
    def num_train_samples(self) -> int | None:
        """How many of the train images are used; None for all."""
        return self.num_train_images

    def data_values(self) -> dict[str, Any]:
        """The values that decide how the data is prepared, as JSON."""
        fields = set(DataFields.model_fields) - {"num_train_images"}
        return self.model_dump(mode="json", include=fields)
