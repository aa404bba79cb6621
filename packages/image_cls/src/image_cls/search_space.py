"""The search space and the objectives of ``image-cls tune``. Loads no framework."""

from __future__ import annotations

from hvdcore.tune.space import Dimension, Float
from hvdcore.tune.tunable import Objective, Tunable
from image_cls.check import check_before_start
from image_cls.config import TrainConfig

__all__ = ["TUNABLE", "search_space"]

_LEARNING_RATES = {
    "logreg": Float(3e-5, 3e-3, log=True),
    "mlp": Float(3e-5, 3e-3, log=True),
    "cnn": Float(2e-4, 2e-2, log=True),
    "mobilenet": Float(1e-4, 1e-2, log=True),
}
"""A factor of 10 to either side of each model's default."""


def search_space(config: TrainConfig) -> dict[str, Dimension]:
    """Optimizer and label smoothing, and the augmentation if the model uses it."""
    space: dict[str, Dimension] = {
        "learning_rate": _LEARNING_RATES[config.model],
        "weight_decay": Float(0.005, 0.5, log=True),
        "label_smoothing": Float(0.0, 0.2),
    }
    if config.augments:
        space |= {"crop_area": Float(0.2, 0.9), "mixup": Float(0.0, 1.0), "erase": Float(0.0, 0.5)}
    return space


TUNABLE = Tunable(
    package="image_cls",
    config=TrainConfig,
    space=search_space,
    objectives={
        "loss": Objective("loss", "minimize", "val loss, nats"),
        "accuracy": Objective("accuracy", "maximize", "val accuracy"),
        "macro_f1": Objective("macro_f1", "maximize", "val macro F1"),
    },
    check=check_before_start,
)
