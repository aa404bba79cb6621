"""``report.html``: scores, curves and pictures of one run, or of several side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.report import Curve, Section, Table, draw_curves, series, write_page
from hvdcore.run_dir import RunDir

CURVES = (
    ("Loss", "loss", "nats a picture", ("train", "val")),
    ("Accuracy", "accuracy", "share of pictures", ("train", "val")),
    ("Learning rate", "learning_rate", "", ("train",)),
    ("Speed", "images_per_second", "pictures a second, all ranks", ("train",)),
)
PICTURES = (
    ("Confusion matrix", "confusion"),
    ("Most confident mistakes", "mistakes"),
    ("Augmentation", "augmentations"),
)
COLUMNS = (
    ("parameters", "num_parameters", "{:,}"),
    ("ranks", "size", "{}"),
    ("global batch", "global_batch_size", "{}"),
    ("train pictures", "num_train_images", "{:,}"),
    ("epochs", "epochs", "{}"),
    ("steps", "steps", "{:,}"),
    ("seconds", "seconds", "{:,.0f}"),
    ("pictures/s", "samples_per_second", "{:,.0f}"),
)
CLASS_SCORES = ("precision", "recall", "f1")
SCORES = (("loss", "{:.4f}"), ("accuracy", "{:.4f}"), ("macro_f1", "{:.4f}"))


def write_report(paths: Sequence[Path], page: Path) -> None:
    """Write one page about the runs, and the figures of the curves.

    Raises:
        UserError: one of the paths is no run, or its training has not ended yet.
    """
    runs = [RunDir.open(path) for path in paths]
    reports = {run.path.name: run.read_report() for run in runs}
    sections = [
        Section("Runs", table=_run_table(reports)),
        Section("Scores", _SCORES_TEXT, table=_score_table(reports)),
        *_class_sections(reports),
        *_curve_sections(runs, runs[0].figures if len(runs) == 1 else page.parent / "figures"),
    ]
    for run in runs:
        suffix = f" of {run.path.name}" if len(runs) > 1 else ""
        for title, name in PICTURES:
            path = run.figures / f"{name}.png"
            if path.is_file():
                sections.append(Section(title + suffix, figure=path))
    for run in runs:
        config = json.dumps(run.read_config(), indent=2)
        sections.append(Section(f"Configuration of {run.path.name}", verbatim=config))
    write_page(page, "image_cls: " + ", ".join(reports), sections)


_SCORES_TEXT = (
    "Loss is the mean negative log-likelihood of the true class in nats. Val and test are exact "
    "over the whole part; train is an even sample of it, without augmentation. In the curves, "
    "train is measured on augmented, blended pictures, and so lies below val. Val chose the "
    "weights; test was read once."
)


def _run_table(reports: dict[str, dict[str, Any]]) -> Table:
    rows = [
        [name, str(report["model"]), *(_cell(report.get(key), form) for _, key, form in COLUMNS)]
        for name, report in reports.items()
    ]
    return Table(["run", "model", *(title for title, _, _ in COLUMNS)], rows)


def _score_table(reports: dict[str, dict[str, Any]]) -> Table:
    rows = [
        [
            name, split, f"{report[split]['num_images']:,}",
            *(_cell(report[split][key], form) for key, form in SCORES),
        ]
        for name, report in reports.items()
        for split in ("train", "val", "test")
        if split in report
    ]  # fmt: skip
    return Table(["run", "part", "pictures", "loss", "accuracy", "macro F1"], rows)


def _class_sections(reports: dict[str, dict[str, Any]]) -> list[Section]:
    sections = []
    for name, report in reports.items():
        split = "test" if "test" in report else "val"
        if split not in report:
            continue
        rows = [
            [label, *(f"{row[key]:.3f}" for key in CLASS_SCORES), str(row["support"])]
            for label, row in report[split]["classes"].items()
        ]
        suffix = f" of {name}" if len(reports) > 1 else ""
        table = Table(["class", "precision", "recall", "F1", "pictures"], rows)
        sections.append(Section(f"Classes on {split}{suffix}", table=table))
    return sections


def _curve_sections(runs: Sequence[RunDir], figures: Path) -> list[Section]:
    sections = []
    for title, value, unit, splits in CURVES:
        curves = [
            Curve(f"{run.path.name} {split}" if len(runs) > 1 else split, *points)
            for run in runs
            for split in splits
            if (points := series(run.read_metrics(), split, value))[0]
        ]
        if curves:
            path = figures / f"{value}.png"
            draw_curves(path, curves, title=title, x_label="step", y_label=unit)
            sections.append(Section(title, figure=path))
    return sections


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)


def report_runs(paths: Sequence[Path], output_dir: Path | None) -> Path:
    """``image-cls report RUN...``: the page's path, in the run or in ``output_dir``.

    Raises:
        UserError: several runs and no place for their page, or one that is no finished run.
    """
    if len(paths) > 1 and output_dir is None:
        raise UserError("output_dir: several runs need --output-dir for the page about them")
    folder = output_dir or paths[0]
    if output_dir is not None:
        output_dir.mkdir(parents=True, exist_ok=True)
    write_report(paths, folder / "report.html")
    return folder / "report.html"
