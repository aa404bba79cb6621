"""The search space of ``textgen tune`` and its objectives. Loads no framework."""

from __future__ import annotations

from hvdcore.tune.space import Dimension, Float
from hvdcore.tune.tunable import Objective, Tunable
from textgen.config import TrainConfig

__all__ = ["TUNABLE", "search_space"]


def search_space(config: TrainConfig) -> dict[str, Dimension]:
    """The optimizer's hyperparameters, the learning rate around its default."""
    space: dict[str, Dimension] = {
        "weight_decay": Float(0.0, 0.3),
        "train_temperature": Float(0.8, 1.1),
    }
    if config.init_from is not None and config.optimizer != "muon":
        return {**space, "learning_rate": Float(1e-5, 3e-3, log=True)}
    if config.optimizer != "adamw":
        return {
            **space,
            "learning_rate": Float(0.004, 0.036, log=True),
            "momentum": Float(0.85, 0.98),
        }
    return {**space, "learning_rate": Float(3e-4, 3e-2, log=True)}


TUNABLE = Tunable(
    package="textgen",
    config=TrainConfig,
    space=search_space,
    objectives={
        "loss": Objective("loss", "minimize", "val loss, nats per token"),
        "bits_per_byte": Objective("bits_per_byte", "minimize", "val bits per byte"),
    },
)
