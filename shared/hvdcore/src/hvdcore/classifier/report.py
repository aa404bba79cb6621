"""``report.html`` of classifiers: scores, curves and figures of one run, or of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvdcore.classifier.config import Words
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
from hvdcore.run.report import Section, Table, write_page

__all__ = ["write_report"]

DRAWN = (
    ("Confusion matrix", "confusion"),
    ("Reliability", "reliability"),
    ("Most confident mistakes", "mistakes"),
    ("Augmentation", "augmentations"),
)
CLASS_SCORES = ("precision", "recall", "f1")
SCORES = (
    Column("samples", "num_samples", "{:,}"),
    Column("loss", "loss", "{:.4f}"),
    Column("accuracy", "accuracy", "{:.4f}"),
    Column("macro F1", "macro_f1", "{:.4f}"),
)


def write_report(paths: Sequence[Path], page: Path, words: Words) -> None:
    """Write one page about the runs, and the figures of the curves.

    Raises:
        UserError: one of the paths is no run, its training has not ended yet, or the page cannot
            be written.
    """
    found = Runs.open(paths, page)
    sections = [
        Section("Scores", SCORES_TEXT, table=score_table(found.reports, SCORES)),
        *class_sections(found, words),
        Section(
            "Runs" if len(paths) > 1 else "Run", table=run_table(found.reports, columns(words))
        ),
        Section("Curves", figures=draw_figures(found, curves(words))),
        *drawn_sections(found),
        *text_sections(found),
        *configurations(found),
    ]
    title = f"{words.package}: " + ", ".join(found.reports)
    write_page(page, title, sections, subtitle=software(found, "horovod", "tensorflow", "keras"))


SCORES_TEXT = (
    "Loss is the mean negative log-likelihood of the true class in nats. Val and test are exact "
    "over the whole part; train is an even sample of it, unchanged. In the curves, train is "
    "measured on what training sees (changed samples, smoothed labels), and so may lie below val. "
    "Val chose the weights; test was read once."
)


def columns(words: Words) -> tuple[Column, ...]:
    """Of the table of runs."""
    return (
        Column("parameters", "num_parameters", "{:,}"),
        Column("ranks", "size", "{}"),
        Column("global batch", "global_batch_size", "{}"),
        Column(f"train {words.samples}", "num_train_samples", "{:,}"),
        Column("epochs", "epochs", "{}"),
        Column("steps", "steps", "{:,}"),
        Column("seconds", "seconds", "{:,.0f}"),
        Column(f"{words.unit}/s", "samples_per_second", "{:,.0f}"),
        Column("seed", "seed", "{}"),
        Column("weights", "weights_sha256", "{:.12}"),
    )


def curves(words: Words) -> tuple[Figure, ...]:
    """What is drawn over the steps."""
    both = ("val", "train")
    return (
        Figure(
            "Loss", "loss", f"nats a {words.sample}", tuple((s, "loss", s) for s in both)
        ),
        Figure(
            "Accuracy", "accuracy", f"share of {words.samples}",
            tuple((s, "accuracy", s) for s in both),
        ),
        Figure("Learning rate", "learning_rate", "", (("train", "learning_rate", "train"),)),
        Figure(
            "Speed of all ranks", f"{words.unit}_per_second", f"{words.unit} a second",
            (("train", f"{words.unit}_per_second", "train"),), from_zero=True,
        ),
        Figure(
            "Time of a step, rank 0", "step_seconds", "seconds",
            tuple(
                ("train", f"{part}_seconds", part)
                for part in ("compute", "update", "communicate", "data")
            ),
            from_zero=True,
        ),
    )  # fmt: skip


def class_sections(found: Runs, words: Words) -> list[Section]:
    """Each class's scores, on test or else val."""
    sections = []
    for label, report in found.reports.items():
        split = "test" if "test" in report else "val"
        if split in report:
            table = class_table(report[split], words)
            title = f"Classes on {split}{found.suffix(label)}"
            sections.append(Section(title, table=table))
    return sections


def class_table(scores: dict[str, Any], words: Words) -> Table:
    """A row for each class."""
    rows = [
        [name, *(f"{row[key]:.3f}" for key in CLASS_SCORES), str(row["support"])]
        for name, row in scores["classes"].items()
    ]
    return Table(["class", "precision", "recall", "F1", words.samples], rows)


def drawn_sections(found: Runs) -> list[Section]:
    """The figures that training left in the runs."""
    return [
        Section(title + found.suffix(label), figure=path)
        for label, run in found.runs.items()
        for title, name in DRAWN
        if (path := run.figures / f"{name}.png").is_file()
    ]


def text_sections(found: Runs) -> list[Section]:
    """Most confident mistakes where they are text, as training left them in ``mistakes.md``."""
    return [
        Section(f"Most confident mistakes{found.suffix(label)}", verbatim=path.read_text("utf-8"))
        for label, run in found.runs.items()
        if (path := run.path / "mistakes.md").is_file()
    ]
