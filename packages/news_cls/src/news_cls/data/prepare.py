"""From ``--data`` to prepared texts: read, clean, split, build the vocabulary, write to the cache.

The folder in the cache is named after the content, so the same texts are prepared once, whatever
file they come from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.prepared import (
    ProgressCallback,
    find_or_build,
    is_complete,
    prepare_summary,
    request_digest,
    write_meta,
)
from hvdcore.classifier.splits import Row, SplitResult, split_rows
from hvdcore.errors import Problems
from hvdcore.files.atomic import move_folder_into_place
from hvdcore.files.cache import default_cache_dir
from hvdcore.run.splits import SPLITS
from news_cls.config import DataFields
from news_cls.data import dataset as files
from news_cls.data.clean import Cleaning
from news_cls.data.dataset import SCHEMA, Ragged, TextData, offsets_of, open_data
from news_cls.data.labels import Classes
from news_cls.data.layouts import Columns
from news_cls.data.row_report import RowReport
from news_cls.data.source import Source
from news_cls.data.sources import find_source
from news_cls.data.staging import StagedRows, check_staged, read_all
from news_cls.data.tokens import UNKNOWN, choose_words, lower

__all__ = [
    "Content",
    "DataRequest",
    "build",
    "prepare",
    "summary",
    "write",
]


@dataclass(frozen=True)
class DataRequest:
    """What determines the prepared data, besides the texts themselves."""

    val_fraction: float
    test_fraction: float
    vocab_size: int
    max_length: int

    def digest(self, content: object) -> str:
        """SHA-256 over the parameters and a description of the texts."""
        numbers = [SCHEMA, self.val_fraction, self.test_fraction, self.vocab_size, self.max_length]
        return request_digest(numbers, content)


def prepare(config: DataFields, progress: ProgressCallback | None = None) -> TextData:
    """The data of a configuration: from the cache, or read, cleaned, split, encoded and cached.

    With several ranks one rank per host calls it, and the others then call `open_data`.

    Args:
        progress: called with (done, 0) texts from time to time; (0, 0) while another process
            prepares the same.

    Raises:
        UserError: anything wrong with the data or the cache's disk.
    """
    progress = progress or (lambda done, total: None)
    request = DataRequest(
        config.val_fraction, config.test_fraction, config.vocab_size, config.max_length
    )
    cache = default_cache_dir("news_cls")
    source = find_source(config.data, _columns(config), cache)
    path = find_or_build(
        cache, "texts", request.digest(source.signature()), is_complete=is_complete,
        progress=progress, build=lambda work: build(request, source, cache, work, progress),
    )  # fmt: skip
    return open_data(path)


def _columns(config: DataFields) -> Columns:
    return Columns(config.text_column, config.label_column, config.encoding)


def summary(data: TextData) -> str:
    """One line: the texts of each split, and what was left out."""
    classes = f"{len(data.classes)} classes (named by {data.meta['classes_from']})"
    return prepare_summary("texts", data.meta, classes)


def build(
    request: DataRequest, source: Source, cache: Path, work: Path, progress: ProgressCallback
) -> Path:
    """Prepare the data in `work`, rename it into the cache and return its path.

    Raises:
        UserError: rows are wrong, or a class has none.
    """
    report, cleaning = RowReport(), Cleaning()
    staged = read_all(source, report, cleaning, request.max_length, progress)
    classes = check_staged(source, staged, report)
    result = split_rows(
        staged.rows(classes), val_fraction=request.val_fraction, test_fraction=request.test_fraction
    )
    _check_split(source, classes, result)
    content = Content(
        source.name, source.files, classes, staged, result,
        request.vocab_size, request.max_length, report, cleaning,
    )  # fmt: skip
    key = request.digest(_description(classes, result, staged))[:32]
    path = cache / "texts" / f"{key}-{content.origin_digest()[:8]}"
    if not is_complete(path):
        made = work / "made"
        made.mkdir()
        write(made, content)
        move_folder_into_place(made, path, is_complete)
    return path


def _description(classes: Classes, result: SplitResult, staged: StagedRows) -> list[object]:
    """The texts and labels, whatever file and row they come from."""
    rows = {
        name: [(hashlib.sha256(staged.texts[row.number]).hexdigest(), row.label) for row in split]
        for name, split in result.splits.items()
    }
    return [classes.names, rows]


def _check_split(source: Source, classes: Classes, result: SplitResult) -> None:
    """Check that every class has a text in train after copies were left out.

    Raises:
        UserError: naming each class that has none.
    """
    problems = Problems()
    for name in result.untrained(classes.names):
        problems.add(
            "data",
            f"{source.name}: class {name!r} has no text to train on that does not have "
            "another label too; add some",
        )
    problems.raise_if_any()


@dataclass(frozen=True)
class Content:
    """All that is written to the cache.

    Attributes:
        files: names of the files that the rows come from.
    """

    source: str
    files: tuple[str, ...]
    classes: Classes
    staged: StagedRows
    result: SplitResult
    vocab_size: int
    max_length: int
    report: RowReport
    cleaning: Cleaning

    def origin_digest(self) -> str:
        """SHA-256 of where the texts come from and what was found there."""
        found = [
            self.source,
            self.files,
            self.report.skipped.to_json(),
            self.report.notes.to_json(),
        ]
        origins = [self.staged.origins[row.number] for row in self.rows()]
        values = [found, self.cleaning.to_json(), self.result.left_out, origins]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    def rows(self) -> list[Row]:
        """All rows that were kept: train, val, test."""
        return self.result.rows()


def write(made: Path, content: Content) -> None:
    """Write the arrays, and meta.json last."""
    staged, rows = content.staged, content.rows()
    order = np.array([row.number for row in rows], dtype=np.int64)
    tokens = Ragged(staged.tokens(), offsets_of(staged.counts)).take(order)
    words, ids = _vocabulary(content, tokens)
    _save_rows(
        made / files.IDS, made / files.OFFSETS, [ids[row] for row in _each(tokens)], np.int32
    )
    texts = [np.frombuffer(staged.texts[number], dtype=np.uint8) for number in order]
    _save_rows(made / files.TEXTS, made / files.TEXT_OFFSETS, texts, np.uint8)
    _save(made / files.LABELS, np.array([row.label for row in rows], dtype=np.int64))
    _save(made / files.ORIGINS, np.array([staged.origins[n] for n in order], dtype=np.int64))
    (made / files.VOCABULARY).write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    meta = _meta(content, len(words))
    write_meta(made, {**meta, "unknown": _unknown(content, made)})


def _vocabulary(content: Content, tokens: Ragged) -> tuple[list[str], npt.NDArray[np.int32]]:
    """The words of the vocabulary, and the id of each number of the lexicon."""
    names = list(content.staged.lexicon)
    counts = np.zeros(len(names), dtype=np.int64)
    num_train = len(content.result.splits["train"])
    for number in range(num_train):
        np.add.at(counts, tokens[number], 1)
    chosen = choose_words(names, counts, content.vocab_size)
    ids = np.full(len(names), UNKNOWN, dtype=np.int32)
    ids[chosen] = np.arange(UNKNOWN + 1, UNKNOWN + 1 + len(chosen))
    for number in np.flatnonzero(ids == UNKNOWN):  # as in `encode`
        lowered = content.staged.lexicon.get(lower(names[number]))
        if lowered is not None:
            ids[number] = ids[lowered]
    return [names[number] for number in chosen], ids


def _each(rows: Ragged) -> list[npt.NDArray[np.int32]]:
    return [rows[number] for number in range(len(rows))]


def _save_rows(
    path: Path, offsets: Path, rows: Sequence[npt.NDArray[np.generic]], dtype: type[np.generic]
) -> None:
    _save(path, np.concatenate([*rows, np.zeros(0, dtype)]).astype(dtype, copy=False))
    _save(offsets, offsets_of([len(row) for row in rows]))


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    """As `np.save`, which loses the errno of a full disk."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)


def _unknown(content: Content, made: Path) -> dict[str, float]:
    """Fraction of each split's tokens that are not in the vocabulary."""
    ids, offsets = np.load(made / files.IDS), np.load(made / files.OFFSETS)
    fractions, start = {}, 0
    for name, size in content.result.sizes().items():
        split = ids[offsets[start] : offsets[start + size]]
        fractions[name] = round(float(np.mean(split == UNKNOWN)), 6) if len(split) else 0.0
        start += size
    return fractions


def _meta(content: Content, num_words: int) -> dict[str, object]:
    report, staged, result = content.report, content.staged, content.result
    lengths = np.array([staged.counts[row.number] for row in content.rows()], dtype=np.int64)
    return {
        "schema": files.SCHEMA,
        "source": content.source,
        "files": content.files,
        "classes": content.classes.names,
        "classes_from": content.classes.origin,
        "vocab_size": num_words + UNKNOWN + 1,
        "max_length": content.max_length,
        "rows": len(staged) + report.skipped.total,
        "parts": result.sizes(),
        "classes_of_parts": result.class_counts(content.classes.names),
        "cut": {n: sum(staged.cut[row.number] for row in result.splits[n]) for n in SPLITS},
        "lengths": {f"{q} %": int(np.percentile(lengths, q)) for q in (5, 50, 95)},
        "skipped": report.skipped.to_json(),
        "notes": report.notes.to_json(),
        "left_out": result.left_out,
        "cleaned": content.cleaning.to_json(),
    }
