"""What ``textgen tune`` searches, and what a trial is judged by. Loads no framework."""

from __future__ import annotations

from hvdcore.tune.space import Dimension, Real
from hvdcore.tune.tunable import Objective, Tunable
from textgen.config import TrainConfig

__all__ = ["TUNABLE", "search_space"]


def search_space(config: TrainConfig) -> dict[str, Dimension]:
    """The optimizer: its rate about the default, and what goes with it."""
    space: dict[str, Dimension] = {
        "weight_decay": Real(0.0, 0.3),
        "train_temperature": Real(0.8, 1.1),
    }
    if config.init_from is not None and config.optimizer != "muon":
        return {**space, "learning_rate": Real(1e-5, 3e-3, log=True)}
    if config.optimizer != "adamw":
        return {
            **space,
            "learning_rate": Real(0.004, 0.036, log=True),
            "momentum": Real(0.85, 0.98),
        }
    return {**space, "learning_rate": Real(3e-4, 3e-2, log=True)}


TUNABLE = Tunable(
    package="textgen",
    config=TrainConfig,
    space=search_space,
    objectives={
        "loss": Objective("loss", "minimize", "val loss, nats a token"),
        "bits_per_byte": Objective("bits_per_byte", "minimize", "val bits per byte"),
    },
)
