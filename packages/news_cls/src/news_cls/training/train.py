"""``news-cls train`` and ``news-cls evaluate`` on a rank."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvdcore.classifier import keras as classifier
from hvdcore.classifier.preflight import check_classes
from hvdcore.keras import any_rank, init
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger, setup_logging
from news_cls.config import TrainConfig
from news_cls.data.dataset import TextData
from news_cls.model.tfidf import is_tfidf, load_tfidf
from news_cls.model.vectorizer import RawTexts
from news_cls.training.task import TextTask, open_task, open_texts
from news_cls.training.train_tfidf import score_of, train_tfidf

__all__ = ["score_run", "train"]

logger = get_logger(__name__)


def train(config: TrainConfig, output_dir: Path | None, resume: str) -> int:
    """Train as configured; see `hvdcore.classifier.keras.train`."""
    if config.model == "tfidf":
        return train_tfidf(config, output_dir, resume)

    def open_texts(world: World) -> TextTask:
        return open_task(config, world)

    return classifier.train("news_cls", config, open_texts, output_dir, resume)


def score_run(path: Path, changes: dict[str, Any], splits: Sequence[str]) -> int:
    """Score the parts and print one JSON object on rank 0. Every rank must call.

    Args:
        changes: fields of the run's configuration that name other texts.

    Raises:
        UserError: no run, no model in it, no such part, or texts of other classes.
    """

    def open_other(run: RunDir, world: World) -> tuple[TrainConfig, TextData]:
        config = TrainConfig.model_validate({**run.read_config(), **changes})
        return config, open_texts(config, world)

    if is_tfidf(RunDir(path).model):
        world = init()
        setup_logging(world, None)
        run = RunDir.open(path)
        _, data = open_other(run, world)
        return _score_tfidf(run, data, splits, world)

    def open_raw(run: RunDir, preprocessing: dict[str, Any], world: World) -> RawTexts:
        config, data = open_other(run, world)
        return RawTexts(data, config.eval_batch_size)

    return classifier.score_run(path, splits, open_raw)


def _score_tfidf(run: RunDir, data: TextData, splits: Sequence[str], world: World) -> int:
    model, classes = load_tfidf(run.model)
    check_classes(data.classes, classes)
    if world.is_root:
        found = {split: score_of(model, data.parts[split]) for split in splits}
        scores = {s: score.with_classes(classes) for s, score in found.items() if score}
        for split in found.keys() - scores.keys():
            logger.warning("the %s part of this data is empty; it is not scored", split)
        print(json.dumps(scores, indent=2, ensure_ascii=False), flush=True)
    any_rank(False)
    return 0
