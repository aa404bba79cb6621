"""The configuration of a training run: every field with its meaning, unit and bounds.

Field names are the flags with underscores (``--global-batch-size`` is ``global_batch_size``), in
TOML and in the ``config.json`` that a run writes and that ``--config`` reads back.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from hvdcore.classifier.config import ClassifierConfig, SampleNames, SplitFields
from hvdcore.config import Config, Flag
from image_cls.schedule import augmentation_strength, between, default_epochs

__all__ = [
    "MODELS",
    "SAMPLE_NAMES",
    "AugmentationFields",
    "DataFields",
    "ModelFields",
    "TrainConfig",
]

OTHER_EPOCHS = 30
"""Epochs of a short run, and of models that do not gain from more."""
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
    crop_area: float | None = Field(None, gt=0.0, le=1.0)
    """Smallest fraction of the image's area that a crop keeps. Default: by the number of epochs,
    0.6 for 12 or fewer to 0.35 for 150 or more."""
    rotation: float = Field(10.0, ge=0.0, le=180.0)
    """Largest rotation in degrees, in either direction."""
    colour: Annotated[float, Flag(alias="color")] = Field(0.3, ge=0.0, lt=1.0)
    """Largest relative change of contrast and saturation; brightness changes by 0.7 of it."""
    erase: float | None = Field(None, ge=0.0, le=1.0)
    """Probability that a rectangle is filled with gray (random erasing). Default: by the number of
    epochs, 0 to 0.25."""
    mixup: float | None = Field(None, ge=0.0, le=1.0)
    """Probability that an image and its label are mixed with another one. Default: by the number of
    epochs, 0 to 0.5."""


class TrainConfig(DataFields, ModelFields, AugmentationFields, ClassifierConfig, Config):
    """All fields together, frozen; unknown fields are errors."""

    earlier_values: ClassVar[dict[str, Any]] = {"optimizer": "adamw"}

    epochs: int | None = Field(None, ge=1)  # type: ignore[assignment]
    """Passes over the train split; ``max_steps`` overrides it. Default: for cnn by the number of
    train images, 112 for 1,350 and 39 for 7,870, from 10 to 200; 30 for other models and for the
    sample."""

    optimizer: Annotated[Literal["muon", "adamw"] | None, Flag(panel="Optimization")] = None
    """How kernels of convolutions are updated: by Muon, which learns more from each image, or by
    AdamW as all other weights. Default: muon for cnn, adamw for other models."""

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
        if self.optimizer == "muon" and self.model != "cnn":
            raise ValueError(
                f"optimizer: {self.model} trains no convolutions; give adamw, or --model cnn"
            )
        return self

    @property
    def uses_muon(self) -> bool:
        """Whether Muon updates the kernels of convolutions."""
        return self.model == "cnn" and self.optimizer != "adamw"

    @property
    def augments(self) -> bool:
        """Whether train images are augmented."""
        return self.model in ("cnn", "mobilenet") if self.augment is None else self.augment

    def resolved(self, num_train: int) -> TrainConfig:
        """With what the numbers of train images and of passes over them decide.

        Args:
            num_train: train images.
        """
        epochs = self.epochs or self._default_epochs(num_train)
        per_epoch = -(-num_train // self.global_batch_size)
        steps = self.max_steps or epochs * per_epoch
        strength = augmentation_strength(steps / per_epoch)
        defaults = {
            "crop_area": between(0.6, 0.35, strength),
            "erase": between(0.0, 0.25, strength),
            "mixup": between(0.0, 0.5, strength),
        }
        missing = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        optimizer = "muon" if self.uses_muon else "adamw"
        return self.model_copy(update={"epochs": epochs, "optimizer": optimizer, **missing})

    def _default_epochs(self, num_train: int) -> int:
        if self.model != "cnn" or self.data == "sample":
            return OTHER_EPOCHS
        return default_epochs(num_train)

    @property
    def num_train_samples(self) -> int | None:
        """How many of the train images are used; None for all."""
        return self.num_train_images

    def data_values(self) -> dict[str, Any]:
        """The values that decide how the data is prepared, as JSON."""
        fields = set(DataFields.model_fields) - {"num_train_images"}
        return self.model_dump(mode="json", include=fields)
