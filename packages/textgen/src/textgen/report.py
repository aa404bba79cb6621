"""``report.html``: the curves, figures and text of one run, or of several side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.report import Curve, Section, Table, draw_curves, series, write_page
from hvdcore.run_dir import RunDir

FIGURES = (
    ("Loss", "loss", "nats a token", ("train", "val")),
    ("Bits per byte", "bits_per_byte", "bits", ("val",)),
    ("Learning rate", "learning_rate", "", ("train",)),
    ("Gradient norm", "gradient_norm", "", ("train",)),
    ("Speed", "tokens_per_second", "tokens a second, all ranks", ("train",)),
)
COLUMNS = (
    ("parameters", "num_parameters", "{:,}"),
    ("ranks", "size", "{}"),
    ("global batch", "global_batch_size", "{}"),
    ("steps", "steps", "{:,}"),
    ("seconds", "seconds", "{:,.0f}"),
    ("tokens/s", "tokens_per_second", "{:,.0f}"),
)
SCORES = (("loss", "{:.4f}"), ("perplexity", "{:.2f}"), ("bits_per_byte", "{:.3f}"))


def write_report(paths: Sequence[Path], page: Path, *, sample: str = "") -> None:
    """Write one page about the runs, and each run's figures into its ``figures/``.

    Raises:
        UserError: one of the paths is no run, or its training has not ended yet.
    """
    runs = [RunDir.open(path) for path in paths]
    reports = {run.path.name: run.read_report() for run in runs}
    sections = [
        Section("Runs", table=_run_table(reports)),
        Section("Scores", _SCORES_TEXT, table=_score_table(reports)),
    ]
    figures = runs[0].figures if len(runs) == 1 else page.parent / "figures"
    for title, value, unit, splits in FIGURES:
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
    if sample:
        sections.append(Section("What it writes", verbatim=sample))
    for run in runs:
        config = json.dumps(run.read_config(), indent=2)
        sections.append(Section(f"Configuration of {run.path.name}", verbatim=config))
    write_page(page, "textgen: " + ", ".join(reports), sections)


_SCORES_TEXT = (
    "Loss is the mean negative log-likelihood of a token in nats, perplexity its exponential; "
    "bits per byte can be compared across tokenizers. Val and test are exact over the whole part; "
    "train is an even sample of it, as large as val. Val chose the weights; test was read once."
)


def _run_table(reports: dict[str, dict[str, Any]]) -> Table:
    rows = [
        [name, str(report["model"]), *(_cell(report.get(key), form) for _, key, form in COLUMNS)]
        for name, report in reports.items()
    ]
    return Table(["run", "model", *(title for title, _, _ in COLUMNS)], rows)


def _score_table(reports: dict[str, dict[str, Any]]) -> Table:
    rows = [
        [name, split, *(_cell(report[split][key], form) for key, form in SCORES)]
        for name, report in reports.items()
        for split in ("train", "val", "test")
        if split in report
    ]
    return Table(["run", "part", "loss", "perplexity", "bits per byte"], rows)


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)


def report_runs(paths: Sequence[Path], output_dir: Path | None) -> Path:
    """``textgen report RUN...``: the page's path, in the run or in ``output_dir``.

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
