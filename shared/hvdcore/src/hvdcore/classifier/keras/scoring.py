"""The verb ``evaluate``: the exact score of a saved model on parts of the data, on all ranks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hvdcore.classifier.keras.evaluate import Classifier, evaluate
from hvdcore.classifier.keras.saved_model import load_model
from hvdcore.classifier.keras.task import EvalTask
from hvdcore.classifier.model_folder import load_preprocessing
from hvdcore.classifier.preflight import check_classes, check_evaluation
from hvdcore.keras.startup import init
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger, setup_logging

__all__ = ["score_run"]

logger = get_logger(__name__)


def score_run(
    path: Path,
    splits: Sequence[str],
    open_task: Callable[[RunDir, dict[str, Any], World], EvalTask],
) -> int:
    """Score the parts and print one JSON object on rank 0. Every rank must call.

    Args:
        path: of a run.
        open_task: opens the data for a run and its model's preprocessing; every rank calls it.

    Returns:
        The exit code, 0.

    Raises:
        UserError: no run, no model in it, no such part, or data of other classes.
    """
    world = init()
    setup_logging(world, None)
    run = check_evaluation(path, splits)
    preprocessing = load_preprocessing(run.model)
    task = open_task(run, preprocessing, world)
    classes = tuple(map(str, preprocessing["classes"]))
    check_classes(task.classes, classes)
    scores = score_parts(Classifier(load_model(run.model), task), splits, world)
    if world.is_root:
        print(json.dumps(scores, indent=2, ensure_ascii=False), flush=True)
    return 0


def score_parts(classify: Classifier, splits: Sequence[str], world: World) -> dict[str, Any]:
    """All figures of each part that is not empty. Every rank must call."""
    task, scores = classify.task, {}
    for split in splits:
        part = task.parts[split]
        if len(part):
            every = np.arange(len(part), dtype=np.int64)
            score = evaluate(classify, part, every, len(task.classes), world)
            scores[split] = score.with_classes(task.classes)
        else:
            logger.warning("the %s part of this data is empty; it is not scored", split)
    return scores
