"""``report.html``: scores, curves and pictures of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hvdcore.classifier.report import write_report
from hvdcore.run.pages import report_runs as report
from image_cls.words import WORDS

__all__ = ["report_runs"]


def report_runs(paths: Sequence[Path], output_dir: Path | None) -> Path:
    """``image-cls report RUN...``; see `hvdcore.run.pages.report_runs`."""
    return report(paths, output_dir, lambda runs, page: write_report(runs, page, WORDS))
