"""``news-cls train`` and ``evaluate`` on a rank.

The training loop of the networks is `hvdcore.classifier.keras.train`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvdcore.classifier import keras as classifier
from hvdcore.classifier.preflight import check_classes
from hvdcore.files.json_files import json_for_terminal
from hvdcore.keras import barrier, init
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger, setup_logging
from news_cls.config import TrainConfig
from news_cls.data.dataset import TextData
from news_cls.model.tfidf import is_tfidf, load_tfidf
from news_cls.model.vectorizer import RawTexts
from news_cls.training.task import open_task, open_texts
from news_cls.training.train_tfidf import score_split, train_tfidf

__all__ = ["evaluate_run", "train"]

logger = get_logger(__name__)


def train(config: TrainConfig, output_dir: Path | None, resume: str) -> int:
    """Train as configured; see `hvdcore.classifier.keras.train`."""
    if config.model == "tfidf":
        return train_tfidf(config, output_dir, resume)
    return classifier.train(
        "news_cls", config, lambda world: open_task(config, world), output_dir, resume
    )


def evaluate_run(path: Path, changes: dict[str, Any], splits: Sequence[str]) -> int:
    """Score a saved model and print one JSON object on rank 0. Every rank must call.

    Args:
        changes: fields of the run's configuration that name other texts.

    Raises:
        UserError: no run, no model in it, no such split, or texts of other classes.
    """

    def config_of(run: RunDir) -> TrainConfig:
        return TrainConfig.model_validate({**run.read_config(), **changes})

    if is_tfidf(RunDir(path).model):
        world = init()
        setup_logging(world, None)
        run = RunDir.open(path)
        return _evaluate_tfidf(run, open_texts(config_of(run), world), splits, world)

    def open_raw(run: RunDir, preprocessing: dict[str, Any], world: World) -> RawTexts:
        config = config_of(run)
        return RawTexts(open_texts(config, world), config.eval_batch_size)

    return classifier.evaluate_run(path, splits, open_raw)


def _evaluate_tfidf(run: RunDir, data: TextData, splits: Sequence[str], world: World) -> int:
    model, classes = load_tfidf(run.model)
    check_classes(data.classes, classes)
    if world.is_root:
        found = {name: score_split(model, data.splits[name]) for name in splits}
        scores = {name: score.with_classes(classes) for name, score in found.items() if score}
        for name in found.keys() - scores.keys():
            logger.warning("the %s split of this data is empty; it is not scored", name)
        print(json_for_terminal(scores, indent=2), flush=True)
    barrier()
    return 0
