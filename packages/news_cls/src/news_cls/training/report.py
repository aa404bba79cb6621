"""``report.html`` of news_cls, and what it tells of the texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvdcore.classifier.report import write_report
from hvdcore.run.pages import report_runs as report
from news_cls.data.dataset import TextData
from news_cls.words import WORDS

__all__ = ["report_runs", "texts_values"]


def report_runs(paths: Sequence[Path], output_dir: Path | None) -> Path:
    """``news-cls report RUN...``; see `hvdcore.run.pages.report_runs`."""
    return report(paths, output_dir, lambda runs, page: write_report(runs, page, WORDS))


def texts_values(data: TextData) -> dict[str, Any]:
    """What ``report.json`` tells of what became of the texts that were found."""
    meta = data.meta
    return {
        "texts": {
            "key": data.key,
            "parts": meta["parts"],
            "left_out": meta["left_out"],
            "skipped": {why: entry["count"] for why, entry in meta["skipped"].items()},
            "vocab_size": data.vocab_size,
        }
    }
