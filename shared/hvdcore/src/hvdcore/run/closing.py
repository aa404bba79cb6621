"""The last lines of a training: what came out, where the report is, what to try next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hvdcore.errors import UserError
from hvdcore.files.json_files import read_json_object
from hvdcore.run.live_report import open_if_asked
from hvdcore.run.run_dir import RunDir
from hvdcore.tracking.logs import get_logger

__all__ = ["Headline", "closing_lines", "log_closing"]

logger = get_logger(__name__)
_MAX_OTHER_RUNS = 200


class Headline(NamedTuple):
    """The value of report.json that a result is judged by."""

    value: str
    title: str
    form: str = "{:.4f}"
    lower_is_better: bool = False

    def text(self, scores: Mapping[str, Any]) -> str:
        return self.form.format(scores[self.value])


class _Other(NamedTuple):
    path: Path
    model: str
    score: float


def log_closing(run: RunDir, headline: Headline, next_command: str) -> None:
    """Log the three lines, and open the report if that was asked for. Rank 0 only.

    Args:
        next_command: the command to try, in which ``{run}`` stands for the run directory.
    """
    for line in closing_lines(run, headline, next_command):
        logger.info("%s", line)
    open_if_asked(run.report_html)


def closing_lines(run: RunDir, headline: Headline, next_command: str) -> list[str]:
    """Result, report and next command of a finished run."""
    shown = next_command.format(run=shlex.quote(str(run.path)))
    return [_result(run, headline), f"report: {run.report_html}", f"next: {shown}"]


def _result(run: RunDir, headline: Headline) -> str:
    report = run.read_report()
    split = "test" if "test" in report else "val"
    if report.get(split, {}).get(headline.value) is None:
        return "result: neither test nor val was scored"
    parts = [f"result: {split} {headline.title} {headline.text(report[split])}"]
    parts += _simplest(run, report[split], headline)
    others = list(_other_runs(run, report, split, headline))
    if others:
        best = (min if headline.lower_is_better else max)(others, key=lambda other: other.score)
        score = headline.form.format(best.score)
        count = f"{len(others)} other run{'s' if len(others) > 1 else ''}"
        parts.append(f"best of {count} beside it: {best.model} {score} ({best.path})")
    return "; ".join(parts)


def _simplest(run: RunDir, scores: Mapping[str, Any], headline: Headline) -> list[str]:
    """What can be had without a model: the most frequent class, or the score before training."""
    classes = scores.get("classes")
    if headline.value == "accuracy" and isinstance(classes, Mapping):
        supports = [each["support"] for each in classes.values()]
        share = max(supports, default=0) / max(sum(supports), 1)
        return [f"the most frequent class alone {headline.form.format(share)}"]
    first = next((r for r in run.read_metrics() if r["split"] == "val" and r["step"] == 0), {})
    if first.get(headline.value) is None:
        return []
    return [f"before training, on val, {headline.text(first)}"]


def _other_runs(
    run: RunDir, report: Mapping[str, Any], split: str, headline: Headline
) -> Iterator[_Other]:
    """Finished runs in the same folder, of the same package on the same data."""
    data = run.read_config().get("data")
    found = sorted(run.path.resolve().parent.glob("*/report.json"), reverse=True)
    for path in found[:_MAX_OTHER_RUNS]:
        if path.parent == run.path.resolve():
            continue
        try:
            theirs = read_json_object(path)
            config = read_json_object(path.with_name("config.json"))
            if theirs["package"] == report["package"] and config.get("data") == data:
                score = float(theirs[split][headline.value])
                yield _Other(path.parent.relative_to(_near(path.parent)), theirs["model"], score)
        except (UserError, LookupError, TypeError, ValueError):
            continue  # of another kind, or damaged: it is not what this run is about


def _near(path: Path) -> Path:
    """The folder that a path is shown from: where we are, if it lies below, else its root."""
    here = Path.cwd().resolve()
    return here if path.is_relative_to(here) else Path(path.anchor)
