"""``report.html``: the scores, text and curves of one run, or of several side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hvdcore.atomic import writing
from hvdcore.errors import UserError
from hvdcore.json_files import read_json_object
from hvdcore.report import (
    Curve,
    Section,
    Table,
    draw_curves,
    run_labels,
    series,
    write_page,
)
from hvdcore.run_dir import RunDir


class Figure(NamedTuple):
    """What one figure shows: curves of (split, value in metrics.jsonl, name in the legend)."""

    title: str
    file: str
    unit: str
    curves: tuple[tuple[str, str, str], ...]
    from_zero: bool = False


FIGURES = (
    Figure("Loss", "loss", "nats a token", (("val", "loss", "val"), ("train", "loss", "train"))),
    Figure("Bits per byte on val", "bits_per_byte", "bits", (("val", "bits_per_byte", "val"),)),
    Figure("Learning rate", "learning_rate", "", (("train", "learning_rate", "train"),)),
    Figure("Gradient norm", "gradient_norm", "", (("train", "gradient_norm", "train"),)),
    Figure(
        "Speed of all ranks", "tokens_per_second", "tokens a second",
        (("train", "tokens_per_second", "train"),), from_zero=True,
    ),
    Figure(
        "Time of a step, rank 0", "step_seconds", "seconds",
        tuple(
            ("train", f"{part}_seconds", part) for part in ("compute", "communicate", "data")
        ),
        from_zero=True,
    ),
)  # fmt: skip
COLUMNS = (
    ("parameters", "num_parameters", "{:,}"),
    ("ranks", "size", "{}"),
    ("global batch", "global_batch_size", "{}"),
    ("steps", "steps", "{:,}"),
    ("seconds", "seconds", "{:,.0f}"),
    ("tokens/s", "tokens_per_second", "{:,.0f}"),
    ("seed", "seed", "{}"),
    ("weights", "weights_sha256", "{:.12}"),
)
SCORES = (("loss", "{:.4f}"), ("perplexity", "{:.2f}"), ("bits_per_byte", "{:.3f}"))


def write_report(paths: Sequence[Path], page: Path) -> None:
    """Write one page about the runs, and their figures into ``figures/``: a single run's own, or
    a folder beside the page.

    Raises:
        UserError: one of the paths is no run, its training has not ended yet, or the page cannot
            be written.
    """
    runs = dict(zip(run_labels(paths), map(RunDir.open, paths), strict=True))
    reports = {label: run.read_report() for label, run in runs.items()}
    is_own = len(paths) == 1 and page.parent.resolve() == paths[0].resolve()
    folder = next(iter(runs.values())).figures if is_own else page.parent / "figures"
    sections = [
        Section("Scores", _SCORES_TEXT, table=_score_table(reports)),
        Section("Runs" if len(runs) > 1 else "Run", table=_run_table(reports)),
        *_samples(reports),
        Section("Curves", figures=_draw(runs, folder)),
    ]
    for label, run in runs.items():
        config = json.dumps(run.read_config(), indent=2)
        sections.append(Section(f"Configuration of {label}", verbatim=config, folded=True))
    started = ", ".join(dict.fromkeys(_software(run) for run in runs.values()))
    write_page(page, "textgen: " + ", ".join(reports), sections, subtitle=started)


_SCORES_TEXT = (
    "Loss is the mean negative log-likelihood of a token in nats, perplexity its exponential; "
    "bits per byte can be compared across tokenizers. Val and test are exact over the whole part; "
    "train is an even sample of it, as large as val. Val chose the weights; test was read once."
)


def _draw(runs: dict[str, RunDir], folder: Path) -> list[Path]:
    rows = {label: run.read_metrics() for label, run in runs.items()}
    drawn = []
    for figure in FIGURES:
        curves = [
            Curve(
                f"{label} {name}" if len(runs) > 1 else name,
                *points,
                color=number if len(runs) > 1 else None,
                dashed=len(runs) > 1 and place > 0,
            )
            for number, label in enumerate(runs)
            for place, (split, value, name) in enumerate(figure.curves)
            if (points := series(rows[label], split, value))[0]
        ]
        if curves:
            drawn.append(
                draw_curves(
                    folder / f"{figure.file}.png", curves, title=figure.title, x_label="step",
                    y_label=figure.unit, from_zero=figure.from_zero,
                )
            )  # fmt: skip
    return drawn


def _samples(reports: dict[str, dict[str, Any]]) -> list[Section]:
    told = {label: report["sample"] for label, report in reports.items() if report.get("sample")}
    return [
        Section(f"What {label} writes" if len(reports) > 1 else "What it writes", verbatim=text)
        for label, text in told.items()
    ]


def _software(run: RunDir) -> str:
    """When the run was started and on what, from env.json."""
    env = read_json_object(run.env) if run.env.is_file() else {}
    versions = env.get("versions", {})
    names = [f"{name} {versions[name]}" for name in ("horovod", "torch") if name in versions]
    return " · ".join([str(env.get("time", ""))[:10], *names]).strip(" ·")


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
        with writing(output_dir):
            output_dir.mkdir(parents=True, exist_ok=True)
    write_report(paths, folder / "report.html")
    return folder / "report.html"
