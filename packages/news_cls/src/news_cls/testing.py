"""Small sets of news in every form, and real training runs on them, for the tests."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvdcore.testing.runs import Run, ranks_environment, run_command
from news_cls.data.labels import AG_NEWS
from news_cls.data.sample import write_news

__all__ = [
    "TINY",
    "News",
    "Run",
    "command",
    "environment",
    "news",
    "run",
    "train",
    "write_csv",
    "write_hub_csv",
    "write_json_lines",
    "write_official",
    "write_sample",
]

News = tuple[int, str, str]
"""Class (0..3), title, description."""


def news(count: int, first: int = 0) -> list[News]:
    """Pieces of news whose classes take turns; no two are alike, whatever their case."""
    return [
        (number % len(AG_NEWS), f"Title {number}", f"What happened on day {number} was news.")
        for number in range(first, first + count)
    ]


def write_csv(path: Path, rows: Sequence[Sequence[Any]], **form: Any) -> Path:
    """Any rows, quoted as the official files are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        usual = {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"}
        usual = {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"}
        csv.writer(file, **{**usual, **form}).writerows(rows)
    return path


def write_official(path: Path, rows: Sequence[News], header: Sequence[str] = ()) -> Path:
    """Labels 1..4, title, description; with Kaggle's header, if one is given."""
    table = [(label + 1, title, text) for label, title, text in rows]
    return write_csv(path, [header, *table] if header else table)


def write_hub_csv(path: Path, rows: Sequence[News]) -> Path:
    """`text,label` with labels 0..3."""
    return write_csv(path, [("text", "label"), *((f"{t} {d}", label) for label, t, d in rows)])


def write_json_lines(path: Path, rows: Sequence[News]) -> Path:
    """An object a line, with text and label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": f"{t} {d}", "label": label}) for label, t, d in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


TINY = (
    "--model", "gru", "--embed-dim", "8", "--hidden-dim", "6", "--conv-dim", "4",
    "--ngram-buckets", "64", "--vectors", "random", "--vocab-size", "200", "--max-length", "16",
    "--pretrain-epochs", "1",
    "--global-batch-size", "12", "--log-every", "1", "--ema-decay", "0.5",
)  # fmt: skip
"""The real network, so small that a step takes milliseconds."""


def command(*arguments: str) -> list[str]:
    """``news-cls`` with arguments, by this interpreter."""
    return [sys.executable, "-m", "news_cls", *arguments]


def environment(cache: Path) -> dict[str, str]:
    """This process's, as the launcher cleans it, with a cache of the tests' own."""
    return ranks_environment({"XDG_CACHE_HOME": str(cache)})


def train(
    output_dir: Path,
    data: Path | str,
    *flags: str,
    launcher: tuple[str, ...] = (),
    timeout: float = 900.0,
) -> Run:
    """Train the tiny network and wait for the end."""
    arguments = ("train", "--data", str(data), "--output-dir", str(output_dir), *TINY, *flags)
    return run(output_dir, [*launcher, *command(*arguments)], timeout)


def run(output_dir: Path, line: list[str], timeout: float = 900.0) -> Run:
    """Any command, in the environment of the tests."""
    return run_command(output_dir, line, environment(output_dir.parent / "cache"), timeout)


def write_sample(folder: Path, num_train: int = 66, num_test: int = 25) -> Path:
    """The first pieces of the package's own sample, in the official form: train and test."""
    numbers = {"train.csv": range(num_train), "test.csv": range(num_train, num_train + num_test)}
    for name, chosen in numbers.items():
        rows = [(label, "", text) for label, text in map(write_news, chosen)]
        write_official(folder / name, rows)
    return folder
