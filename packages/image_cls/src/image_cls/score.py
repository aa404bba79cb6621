"""``image-cls evaluate``: the exact score of a saved model on parts of the data, on all ranks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import hvdcore.keras
from hvdcore.errors import UserError
from hvdcore.logs import get_logger, setup_logging
from image_cls.check import check_evaluation
from image_cls.config import TrainConfig
from image_cls.evaluate import classifier, evaluate
from image_cls.open_data import open_data_on_all_ranks
from image_cls.saved_model import load_classes, load_model

logger = get_logger(__name__)


def score_run(path: Path, data: str | None, splits: Sequence[str]) -> int:
    """Score the parts and print one JSON object on rank 0. Every rank must call.

    Args:
        data: other pictures than the run was trained on, cut into parts alike; None is the run's.

    Raises:
        UserError: no run, no model in it, no such part, or pictures of other classes.
    """
    world = hvdcore.keras.init()
    setup_logging(world, None)
    run = check_evaluation(path, splits)
    classes, size = load_classes(run.model)
    config = TrainConfig.model_validate(run.read_config())
    if data is not None:
        config = config.model_copy(update={"data": data})
    pictures = open_data_on_all_ranks(config.model_copy(update={"image_size": size}), world)
    if pictures.classes != classes:
        raise UserError(
            f"data: its classes are {', '.join(pictures.classes)}, but the model knows "
            f"{', '.join(classes)}; name the class folders alike"
        )
    classify = classifier(load_model(run.model), config.eval_batch_size)
    scores = {}
    for split in splits:
        part = pictures.parts[split]
        if len(part):
            score = evaluate(classify, part, len(classes), world)
            scores[split] = score.with_classes(classes)
        else:
            logger.warning("the %s part of this data is empty; it is not scored", split)
    if world.is_root:
        print(json.dumps(scores, indent=2, ensure_ascii=False), flush=True)
    return 0
