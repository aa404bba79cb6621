"""Small data sets in every file format, and real training runs on them, for tests."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvdcore.sharding import Indices
from hvdcore.testing.runs import Run
from hvdcore.testing.trainer import Trainer
from news_cls.data.labels import AG_NEWS
from news_cls.data.sample import write_news
from news_cls.training.batches import padded_length

__all__ = [
    "TINY",
    "News",
    "Run",
    "command",
    "environment",
    "news",
    "padding_fraction",
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
    """News texts whose classes alternate; no two are equal, whatever their case."""
    return [
        (number % len(AG_NEWS), f"Title {number}", f"What happened on day {number} was news.")
        for number in range(first, first + count)
    ]


def write_csv(path: Path, rows: Sequence[Sequence[Any]], **options: Any) -> Path:
    """Write any rows, quoted as in the official files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        defaults = {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"}
        csv.writer(file, **{**defaults, **options}).writerows(rows)
    return path


def write_official(path: Path, rows: Sequence[News], header: Sequence[str] = ()) -> Path:
    """Write labels 1..4, title and description, with a header if one is given."""
    table = [(label + 1, title, text) for label, title, text in rows]
    return write_csv(path, [header, *table] if header else table)


def write_hub_csv(path: Path, rows: Sequence[News]) -> Path:
    """Write `text,label` with labels 0..3."""
    return write_csv(path, [("text", "label"), *((f"{t} {d}", label) for label, t, d in rows)])


def write_json_lines(path: Path, rows: Sequence[News]) -> Path:
    """Write one object per line, with text and label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": f"{t} {d}", "label": label}) for label, t, d in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


TINY = (
    "--model", "gru", "--embed-dim", "8", "--hidden-dim", "6", "--conv-dim", "4",
    "--ngram-buckets", "64", "--subword-buckets", "64", "--vectors", "random",
    "--vocab-size", "200", "--max-length", "16", "--pretrain-epochs", "1",
    "--global-batch-size", "12", "--log-every", "1", "--ema-decay", "0.5",
)  # fmt: skip
"""The real network, so small that a step takes milliseconds."""


_TRAINER = Trainer("news_cls", TINY)
command, environment = _TRAINER.command, _TRAINER.environment
run, train = _TRAINER.run, _TRAINER.train


def write_sample(folder: Path, num_train: int = 66, num_test: int = 25) -> Path:
    """Write the first texts of the sample in the official format: train and test."""
    numbers = {"train.csv": range(num_train), "test.csv": range(num_train, num_train + num_test)}
    for name, chosen in numbers.items():
        rows = [(label, "", text) for label, text in map(write_news, chosen)]
        write_official(folder / name, rows)
    return folder


def padding_fraction(lengths: Indices, order: Indices, batch_size: int, multiple: int = 8) -> float:
    """Fraction of the positions of all batches that are padding, 0 to 1."""
    tokens = positions = 0
    for start in range(0, len(order), batch_size):
        batch = lengths[order[start : start + batch_size]]
        tokens += int(batch.sum())
        positions += len(batch) * padded_length(batch, multiple)
    return 1.0 - tokens / positions if positions else 0.0
