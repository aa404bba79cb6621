"""The search space and the objectives of ``news-cls tune``. Loads no framework."""

from __future__ import annotations

from hvdcore.tune.space import Dimension, Float
from hvdcore.tune.tunable import Objective, Tunable
from news_cls.check import check_before_start
from news_cls.config import TrainConfig

__all__ = ["TUNABLE", "search_space"]


def search_space(config: TrainConfig) -> dict[str, Dimension]:
    """Learning rate, label smoothing and dropout."""
    return {
        "learning_rate": Float(2e-4, 5e-3, log=True),
        "label_smoothing": Float(0.0, 0.2),
        "word_dropout": Float(0.0, 0.3),
        "embed_dropout": Float(0.0, 0.5),
        "feature_dropout": Float(0.0, 0.7),
    }


TUNABLE = Tunable(
    package="news_cls",
    config=TrainConfig,
    space=search_space,
    objectives={
        "loss": Objective("loss", "minimize", "val loss, nats"),
        "accuracy": Objective("accuracy", "maximize", "val accuracy"),
        "macro_f1": Objective("macro_f1", "maximize", "val macro F1"),
    },
    check=check_before_start,
)
