"""The real AG News, where it is: counts that were looked up by other means."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from news_cls.config import TrainConfig
from news_cls.data.prepare import prepare
from news_cls.testing import padding_fraction
from news_cls.training.batches import bucketed_order

pytestmark = pytest.mark.data


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_every_row_is_in_a_split_or_counted(ag_news: Path) -> None:
    data = prepare(TrainConfig(data=str(ag_news)))
    num_rows = sum(len(rows_of(ag_news / name)) for name in ("train.csv", "test.csv"))
    meta = data.meta
    assert data.classes == ("World", "Sports", "Business", "Sci/Tech")
    assert meta["rows"] == num_rows
    assert sum(meta["parts"].values()) + sum(meta["left_out"].values()) == num_rows
    assert meta["skipped"] == {}
    assert [note[:22] for note in meta["notes"]] == ["file without a header:"]
    assert all(share < 0.03 for share in meta["unknown"].values())
    texts = list(data.splits["train"].texts)
    residue = ("#39;", "quot;", "&lt;", "&amp;", "\\", "<b>")
    assert not [text for text in texts if any(mark in text for mark in residue)]


def test_the_forms_of_the_hub_are_the_same_data(ag_news: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        rows = rows_of(ag_news / f"{name}.csv")
        texts = [f"{title} {text}" for _, title, text in rows]
        labels = [int(label) - 1 for label, _, _ in rows]
        table = pa.table({"text": texts, "label": labels})
        pq.write_table(table, tmp_path / f"{name}-00000-of-00001.parquet")
    official = prepare(TrainConfig(data=str(ag_news)))
    assert prepare(TrainConfig(data=str(tmp_path))).key == official.key


def test_buckets_save_padding(ag_news: Path) -> None:
    lengths = prepare(TrainConfig(data=str(ag_news))).splits["train"].lengths
    order = bucketed_order(lengths, 64, seed=0, epoch=0)
    assert padding_fraction(lengths, order, 64) < 0.1
    assert padding_fraction(lengths, order[order.argsort()], 64) > 0.3
