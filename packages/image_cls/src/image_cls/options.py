"""The options that only image_cls has; the shared ones are in ``hvdcore.options``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvdcore.options import REAL, WHOLE

Inputs = Annotated[
    list[Path], typer.Argument(metavar="INPUT...", help="Pictures, or folders with pictures.")
]
ImageSize = Annotated[int | None, typer.Option(**WHOLE, help="Pixels a side of the cache.")]
NumTrainImages = Annotated[
    int | None, typer.Option(**WHOLE, help="Train on so many pictures only, classes alike.")
]
Weights = Annotated[
    str | None,
    typer.Option(metavar="FILE|imagenet", help="Weights that mobilenet starts from."),
]
Augment = Annotated[
    bool | None,
    typer.Option("--augment/--no-augment", help="Change train pictures. Default: the model's."),
]
CropArea = Annotated[float | None, typer.Option(**REAL, help="Smallest share a crop keeps.")]
Rotation = Annotated[float | None, typer.Option(**REAL, help="Largest rotation in degrees.")]
Colour = Annotated[
    float | None, typer.Option(**REAL, help="Largest relative change of the colours.")
]
Erase = Annotated[float | None, typer.Option(**REAL, help="Probability of a grey rectangle.")]
Mixup = Annotated[float | None, typer.Option(**REAL, help="Probability of blending two pictures.")]

PICTURES = {
    "num_train_images": NumTrainImages,
    "weights": Weights,
    "augment": Augment,
    "crop_area": CropArea,
    "rotation": Rotation,
    "colour": Colour,
    "erase": Erase,
    "mixup": Mixup,
}
"""How many pictures are trained on, what the model starts from, and how pictures are changed."""
