"""Training of the linear model through the same verbs, logs and reports: one rank fits it.

It takes seconds, and scikit-learn knows nothing of ranks; the others wait.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from hvdcore.classifier.figures import draw_results, report_values
from hvdcore.classifier.keras import begin
from hvdcore.classifier.report import write_report
from hvdcore.classifier.score import Score, evenly
from hvdcore.classifier.splits import PARTS
from hvdcore.keras import any_rank, broadcast_object
from hvdcore.metrics.classification import confusion_matrix
from hvdcore.run.run_dir import RunDir
from hvdcore.run.start import start_run
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger
from news_cls.config import WORDS, TrainConfig
from news_cls.data.dataset import Part, TextData, train_part
from news_cls.model.tfidf import TfidfModel, fit_tfidf, save_tfidf
from news_cls.training.task import open_texts, texts_values, write_mistakes

__all__ = ["score_of", "train_tfidf"]

logger = get_logger(__name__)


def train_tfidf(config: TrainConfig, output_dir: Path | None, resume: str) -> int:
    """Fit as configured; every rank calls this.

    Returns:
        The exit code, 0.
    """
    world, output_dir = begin("news_cls", output_dir, resume)
    data = open_texts(config, world)
    fingerprint = {"model": config.model, "texts": data.key}
    run, _ = start_run(
        output_dir, "news_cls", config, resume,
        fingerprint=fingerprint, world=world, broadcast=broadcast_object,
    )  # fmt: skip
    if world.is_root:
        fit_and_report(config, data, run, world)
    any_rank(False)
    return 0


def fit_and_report(config: TrainConfig, data: TextData, run: RunDir, world: World) -> None:
    """Fit, score, save and report. Rank 0 alone."""
    part, began = train_part(config, data), perf_counter()
    beat("prepare")
    model = fit_tfidf(part.texts, part.labels, len(data.classes))
    seconds = perf_counter() - began
    parts = {**data.parts, "train": sample_of_train(part, data)}
    scores = {split: score_of(model, parts[split]) for split in PARTS}
    for split, score in scores.items():
        if score is not None:
            values = {**score.to_json(), "seconds": seconds}
            run.append_metrics({"step": 1, "epoch": 1, "split": split, **values})
            logger.info("%s loss %.4f, accuracy %.4f", split, score.loss, score.accuracy)
    save_tfidf(run.model, model, data.classes)
    values = run_values(config, model, seconds, len(part), world)
    run.write_json("report.json", report_values(values, texts_values(data), scores, data.classes))
    shown = "test" if scores["test"] is not None else "val"
    if scores[shown] is not None:
        shown_part = data.parts[shown]
        probabilities = np.exp(model.log_probabilities(shown_part.texts))
        draw_results(run.figures, shown, probabilities, shown_part.labels, data.classes, WORDS)
        write_mistakes(run.path / "mistakes.md", shown_part, probabilities, data.classes)
    write_report([run.path], run.report_html, WORDS)
    logger.info("report: %s", run.report_html)


def sample_of_train(part: Part, data: TextData) -> Part:
    """As many train texts as val or test has, evenly spaced."""
    size = max(len(data.parts["val"]), len(data.parts["test"]), 1)
    return part.take(evenly(len(part), size))


def score_of(model: TfidfModel, part: Part) -> Score | None:
    """The exact score of a part; None where it is empty."""
    if not len(part):
        return None
    found = model.log_probabilities(part.texts)
    nll = -found[np.arange(len(part)), part.labels].sum()
    matrix = confusion_matrix(part.labels, found.argmax(axis=1), len(model.biases))
    return Score(float(nll), matrix)


def run_values(
    config: TrainConfig, model: TfidfModel, seconds: float, n: int, world: World
) -> dict[str, Any]:
    """What report.json tells of the run itself."""
    return {
        "schema": 1,
        "package": WORDS.package,
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
