"""Parts of the HTML reports of all trainers: tables of runs, curves, configurations, files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hvdcore.errors import UserError
from hvdcore.files.atomic import writing
from hvdcore.files.json_files import read_json_object
from hvdcore.run.report import Curve, Section, Table, draw_curves, run_labels, series
from hvdcore.run.run_dir import RunDir
from hvdcore.run.splits import SPLITS

__all__ = [
    "Column",
    "Figure",
    "Runs",
    "configurations",
    "draw_figures",
    "report_runs",
    "run_table",
    "score_table",
    "software",
]

_SHOWN_CHARACTERS = 200


class Column(NamedTuple):
    """A column of a table: its title, the value in report.json and how it is written."""

    title: str
    value: str
    form: str
    unit: float = 1
    """What the value is divided by: 1e9 to write GFLOP/s."""

    def cell(self, values: Mapping[str, Any]) -> str:
        """The value as text; - where there is none."""
        value = values.get(self.value)
        if value is None:
            return "-"
        return self.form.format(value if self.unit == 1 else value / self.unit)


class Figure(NamedTuple):
    """What one figure shows: curves of (split, value in metrics.jsonl, name in the legend)."""

    title: str
    file: str
    unit: str
    curves: tuple[tuple[str, str, str], ...]
    from_zero: bool = False


class Runs(NamedTuple):
    """Finished runs under labels that tell them apart, and where their page's figures go."""

    runs: dict[str, RunDir]
    reports: dict[str, dict[str, Any]]
    figures: Path

    @classmethod
    def open(cls, paths: Sequence[Path], page: Path) -> Runs:
        """A single run's page has its figures in the run, others beside the page.

        Raises:
            UserError: one of the paths is no run, or its training has not ended yet.
        """
        runs = dict(zip(run_labels(paths), map(RunDir.open, paths), strict=True))
        reports = {label: run.read_report() for label, run in runs.items()}
        is_own = len(paths) == 1 and page.parent.resolve() == paths[0].resolve()
        figures = next(iter(runs.values())).figures if is_own else page.parent / "figures"
        return cls(runs, reports, figures)

    def suffix(self, label: str) -> str:
        """What a title says of the run, where there are several."""
        return f" of {label}" if len(self.runs) > 1 else ""


def run_table(reports: Mapping[str, Mapping[str, Any]], columns: Sequence[Column]) -> Table:
    """One column per run: there are few runs and many rows."""
    rows = [
        [column.title, *(column.cell(report) for report in reports.values())]
        for column in (Column("model", "model", "{}"), *columns)
    ]
    return Table(["", *reports], rows)


def score_table(reports: Mapping[str, Mapping[str, Any]], columns: Sequence[Column]) -> Table:
    """A row for each split of each run."""
    rows = [
        [name, split, *(column.cell(report[split]) for column in columns)]
        for name, report in reports.items()
        for split in SPLITS
        if split in report
    ]
    return Table(["run", "split", *(column.title for column in columns)], rows)


def draw_figures(runs: Runs, figures: Sequence[Figure]) -> list[Path]:
    """Draw those that some run has values for; several runs share a figure, a color for each.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    rows = {label: run.read_metrics() for label, run in runs.runs.items()}
    several = len(rows) > 1
    drawn = []
    for figure in figures:
        curves = [
            Curve(
                f"{label} {name}" if several else name,
                *points,
                color=number if several else None,
                dashed=several and index > 0,
            )
            for number, label in enumerate(rows)
            for index, (split, value, name) in enumerate(figure.curves)
            if (points := series(rows[label], split, value))[0]
        ]
        if curves:
            path = runs.figures / f"{figure.file}.png"
            draw_curves(
                path, curves, title=figure.title, x_label="step", y_label=figure.unit,
                from_zero=figure.from_zero,
            )  # fmt: skip
            drawn.append(path)
    return drawn


def configurations(runs: Runs) -> list[Section]:
    """A folded section with the configuration of each run."""
    return [
        Section(
            f"Configuration of {label}",
            verbatim=json.dumps(run.read_config(), indent=2),
            folded=True,
        )
        for label, run in runs.runs.items()
    ]


def software(runs: Runs, *names: str) -> str:
    """When the runs were started and on what, from env.json.

    Args:
        names: packages whose versions are shown.
    """
    return ", ".join(dict.fromkeys(_software(run, names) for run in runs.runs.values()))


def _software(run: RunDir, names: Sequence[str]) -> str:
    env = read_json_object(run.env) if run.env.is_file() else {}
    versions = env.get("versions", {})
    told = [f"{name} {versions[name]}" for name in names if name in versions]
    return " · ".join([str(env.get("time", ""))[:10], *told]).strip(" ·")


def report_runs(
    paths: Sequence[Path],
    output_dir: Path | None,
    write: Callable[[Sequence[Path], Path], None],
) -> Path:
    """The command ``report RUN...``: the page's path, in the run or in ``output_dir``.

    Args:
        write: writes the page about runs to a path.

    Raises:
        UserError: several runs and no directory for their page, or one that is no finished run,
            or that holds text for numbers, lists for text and the like.
    """
    if len(paths) > 1 and output_dir is None:
        raise UserError("output_dir: several runs need --output-dir for their report")
    folder = output_dir or paths[0]
    if output_dir is not None:
        with writing(output_dir):
            output_dir.mkdir(parents=True, exist_ok=True)
    for path in paths:
        _check_scores(RunDir(path))
    try:
        write(paths, folder / "report.html")
    except UserError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN_CHARACTERS]
        raise UserError(
            f"{', '.join(map(str, paths))}: report.json, metrics.jsonl or another file holds what"
            f" no run of ours writes ({reason}); give the run as its training left it"
        ) from error
    return folder / "report.html"


def _check_scores(run: RunDir) -> None:
    """
    Raises:
        UserError: a finished run's report has none.
    """
    if run.report.is_file() and not run.read_report().keys() & set(SPLITS):
        raise UserError(
            f"{run.report}: it has no scores of {', '.join(SPLITS)}; give the run as its training "
            "left it"
        )
