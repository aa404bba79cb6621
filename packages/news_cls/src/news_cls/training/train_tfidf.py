"""Training TF-IDF with the same commands, logs and reports: rank 0 fits it and the others wait.

It takes seconds, and scikit-learn does not use several ranks.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from hvdcore.classifier.figures import draw_results
from hvdcore.classifier.keras import setup_run
from hvdcore.classifier.report import ACCURACY, report_values, write_report
from hvdcore.classifier.score import Score
from hvdcore.classifier.splits import subsample
from hvdcore.keras import barrier, broadcast_object
from hvdcore.metrics.classification import confusion_matrix
from hvdcore.run.closing import log_closing
from hvdcore.run.lock import run_dirs_held
from hvdcore.run.run_dir import RunDir
from hvdcore.run.splits import SPLITS
from hvdcore.run.start import start_run
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger
from hvdcore.tracking.tracker.tracker import point_of
from news_cls.config import SAMPLE_NAMES, TrainConfig
from news_cls.data.dataset import Split, TextData
from news_cls.model.tfidf import TfidfModel, fit_tfidf, save_tfidf
from news_cls.training.task import open_texts, write_mistakes

__all__ = ["score_split", "train_tfidf"]

logger = get_logger(__name__)


@run_dirs_held()
def train_tfidf(config: TrainConfig, output_dir: Path | None, resume: str) -> int:
    """Fit as configured. Every rank must call.

    Returns:
        The exit code, 0.
    """
    world, output_dir = setup_run("news_cls", output_dir, resume)
    data = open_texts(config, world)
    run, _ = start_run(
        output_dir, "news_cls", config, resume,
        fingerprint={"model": config.model, "texts": data.key}, world=world,
        broadcast=broadcast_object,
    )  # fmt: skip
    if world.is_root:
        fit_and_report(config, data, run, world)
    barrier()
    return 0


def fit_and_report(config: TrainConfig, data: TextData, run: RunDir, world: World) -> None:
    """Fit, score, save and report. Rank 0 only."""
    split, began = data.train_subset(config.num_train_texts, SAMPLE_NAMES), perf_counter()
    beat("prepare")
    model = fit_tfidf(split.texts, split.labels, len(data.classes))
    seconds = perf_counter() - began
    splits = {**data.splits, "train": train_sample(split, data)}
    scores = {name: score_split(model, splits[name]) for name in SPLITS}
    tracker = run.open_tracker(config, SAMPLE_NAMES.package)
    for name, score in scores.items():
        if score is not None:
            line = {"step": 1, "epoch": 1, "split": name, **score.to_json(), "seconds": seconds}
            run.append_metrics(line)
            if tracker is not None and (point := point_of(line)) is not None:
                tracker.add(point)
            logger.info("%s loss %.4f, accuracy %.4f", name, score.loss, score.accuracy)
    save_tfidf(run.model, model, data.classes)
    values = run_values(config, model, seconds, len(split), world)
    texts = {"texts": data.report_values()}
    run.write_json("report.json", report_values(values, texts, scores, data.classes))
    shown = "test" if scores["test"] is not None else "val"
    if scores[shown] is not None:
        draw(run, model, data, shown)
    write_report([run.path], run.report_html, SAMPLE_NAMES)
    if tracker is not None:
        tracker.close("finished")
    log_closing(run, ACCURACY, SAMPLE_NAMES.next_command)


def draw(run: RunDir, model: TfidfModel, data: TextData, name: str) -> None:
    """Write the figures and the most confident mistakes on a split."""
    split = data.splits[name]
    probabilities = np.exp(model.log_probabilities(split.texts))
    draw_results(run.figures, name, probabilities, split.labels, data.classes, SAMPLE_NAMES)
    write_mistakes(run.path / "mistakes.md", split, probabilities, data.classes)


def train_sample(split: Split, data: TextData) -> Split:
    """Evenly spaced train texts, as many as val or test has."""
    size = max(len(data.splits["val"]), len(data.splits["test"]), 1)
    return split.take(subsample(len(split), size))


def score_split(model: TfidfModel, split: Split) -> Score | None:
    """The exact score of a split; None if it is empty."""
    if not len(split):
        return None
    found = model.log_probabilities(split.texts)
    nll = -found[np.arange(len(split)), split.labels].sum()
    matrix = confusion_matrix(split.labels, found.argmax(axis=1), len(model.biases))
    return Score(float(nll), matrix)


def run_values(
    config: TrainConfig, model: TfidfModel, seconds: float, n: int, world: World
) -> dict[str, Any]:
    """What report.json records about the run itself."""
    return {
        "schema": 1,
        "package": SAMPLE_NAMES.package,
        "model": config.model,
        "num_parameters": model.num_parameters,
        "size": world.size,
        "global_batch_size": n,
        "seed": config.seed,
        "epochs": 1,
        "steps": 1,
        "chosen_step": 1,
        "seconds": seconds,
        "samples_per_second": n / seconds,
        "weights_sha256": model.sha256,
        "num_train_samples": n,
    }
