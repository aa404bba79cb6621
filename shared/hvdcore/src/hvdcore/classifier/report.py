"""``report.json`` and ``report.html`` of classifiers: scores, curves and figures of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hvdcore.classifier.config import SampleNames
from hvdcore.classifier.score import Score
from hvdcore.run.closing import Headline
from hvdcore.run.pages import (
    Column,
    Figure,
    Runs,
    configurations,
    draw_figures,
    run_table,
    score_table,
    software,
)
from hvdcore.run.rank_table import rank_sections
from hvdcore.run.report import Section, Table, write_page

__all__ = ["ACCURACY", "report_values", "write_report"]

FIGURES = (
    ("Confusion matrix", "confusion"),
    ("Reliability", "reliability"),
    ("Most confident mistakes", "mistakes"),
    ("Augmentation", "augmentations"),
)
ACCURACY = Headline("accuracy", "accuracy")
CLASS_SCORES = ("precision", "recall", "f1")
SCORES = (
    Column("samples", "num_samples", "{:,}"),
    Column("loss", "loss", "{:.4f}"),
    Column("accuracy", "accuracy", "{:.4f}"),
    Column("macro F1", "macro_f1", "{:.4f}"),
)


SCORES_TEXT = (
    "Loss is the mean negative log-likelihood of the true class in nats. Val and test are exact "
    "over the whole split; train is an evenly spaced subset of it, without augmentation or label "
    "smoothing. The train curves are measured on the batches of training (with augmentation and "
    "label smoothing), so their loss may lie below val. Val selected the weights; test was "
    "evaluated once, at the end."
)


def report_values(
    run: Mapping[str, Any],
    package: Mapping[str, Any],
    scores: Mapping[str, Score | None],
    classes: Sequence[str],
) -> dict[str, Any]:
    """The content of ``report.json``: the run, what its package adds, and each scored split."""
    splits = {
        split: score.with_classes(classes) for split, score in scores.items() if score is not None
    }
    return {**run, **package, **splits}


def write_report(paths: Sequence[Path], page: Path, names: SampleNames) -> None:
    """Write one page about the runs, and the figures of the curves.

    Raises:
        UserError: one of the paths is not a finished run, or the page cannot be written.
    """
    found = Runs.open(paths, page)
    sections = [
        Section("Scores", SCORES_TEXT, table=score_table(found.reports, SCORES)),
        *class_sections(found, names),
        Section(
            "Runs" if len(paths) > 1 else "Run", table=run_table(found.reports, columns(names))
        ),
        Section("Curves", figures=draw_figures(found, curves(names))),
        *rank_sections(found),
        *figure_sections(found),
        *mistake_sections(found),
        *configurations(found),
    ]
    title = f"{names.package}: " + ", ".join(found.reports)
    write_page(page, title, sections, subtitle=software(found, "horovod", "tensorflow", "keras"))


def columns(names: SampleNames) -> tuple[Column, ...]:
    """The columns of the table of runs."""
    return (
        Column("parameters", "num_parameters", "{:,}"),
        Column("ranks", "size", "{}"),
        Column("global batch", "global_batch_size", "{}"),
        Column(f"train {names.samples}", "num_train_samples", "{:,}"),
        Column("epochs", "epochs", "{}"),
        Column("steps", "steps", "{:,}"),
        Column("seconds", "seconds", "{:,.0f}"),
        Column(f"{names.samples}/s", "samples_per_second", "{:,.0f}"),
        Column("seed", "seed", "{}"),
        Column("weights", "weights_sha256", "{:.12}"),
    )


def curves(names: SampleNames) -> tuple[Figure, ...]:
    """The figures whose x axis is the step."""
    both = ("val", "train")
    return (
        Figure(
            "Loss", "loss", f"nats per {names.sample}", tuple((s, "loss", s) for s in both)
        ),
        Figure(
            "Accuracy", "accuracy", f"fraction of {names.samples}",
            tuple((s, "accuracy", s) for s in both),
        ),
        Figure("Learning rate", "learning_rate", "", (("train", "learning_rate", "train"),)),
        Figure(
            "Speed of all ranks", f"{names.samples}_per_second", f"{names.samples} per second",
            (("train", f"{names.samples}_per_second", "train"),), from_zero=True,
        ),
        Figure(
            "Time of a step, rank 0", "step_seconds", "seconds",
            tuple(
                ("train", f"{phase}_seconds", phase)
                for phase in ("compute", "update", "communicate", "data")
            ),
            from_zero=True,
        ),
    )  # fmt: skip


def class_sections(found: Runs, names: SampleNames) -> list[Section]:
    """The scores of each class, on test or else val."""
    sections = []
    for label, report in found.reports.items():
        split = "test" if "test" in report else "val"
        if split in report:
            table = class_table(report[split], names)
            title = f"Classes on {split}{found.suffix(label)}"
            sections.append(Section(title, table=table))
    return sections


def class_table(scores: Mapping[str, Any], names: SampleNames) -> Table:
    """A row for each class."""
    rows = [
        [name, *(f"{row[key]:.3f}" for key in CLASS_SCORES), str(row["support"])]
        for name, row in scores["classes"].items()
    ]
    return Table(["class", "precision", "recall", "F1", names.samples], rows)


def figure_sections(found: Runs) -> list[Section]:
    """The figures that training wrote into the runs."""
    return [
        Section(title + found.suffix(label), figure=path)
        for label, run in found.runs.items()
        for title, name in FIGURES
        if (path := run.figures / f"{name}.png").is_file()
    ]


def mistake_sections(found: Runs) -> list[Section]:
    """The most confident mistakes on texts, which training wrote to ``mistakes.md``."""
    return [
        Section(f"Most confident mistakes{found.suffix(label)}", verbatim=path.read_text("utf-8"))
        for label, run in found.runs.items()
        if (path := run.path / "mistakes.md").is_file()
    ]
