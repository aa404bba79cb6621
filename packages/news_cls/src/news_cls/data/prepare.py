"""The way from `--data` to prepared texts, in a cache keyed by their content.

Making prepared data: read and clean each row, look for copies, cut into parts, number, write.

Writing prepared data: numbers for tokens, the arrays part after part, and what was found.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.prepared import Progress, find_or_build, what_became
from hvdcore.classifier.splits import PARTS, Row, Selection, select
from hvdcore.errors import Problems
from hvdcore.files.atomic import move_folder_into_place
from hvdcore.files.cache import default_cache_dir
from hvdcore.files.json_files import write_json_atomically
from news_cls.config import DataFields
from news_cls.data import dataset as files
from news_cls.data.clean import Cleaning
from news_cls.data.dataset import SCHEMA, Ragged, TextData, is_complete, offsets_of, open_data
from news_cls.data.labels import Classes
from news_cls.data.layouts import Columns
from news_cls.data.row_report import RowReport
from news_cls.data.source import Source
from news_cls.data.sources import find_source
from news_cls.data.spool import Spool, check_spool, read_all
from news_cls.data.tokens import UNKNOWN, choose_words, lower

__all__ = [
    "DataRequest",
    "Written",
    "build",
    "prepare",
    "summary",
    "write",
]


@dataclass(frozen=True)
class Written:
    """What is written.

    Attributes:
        files: names of the files that the rows come from.
    """

    source: str
    files: tuple[str, ...]
    classes: Classes
    spool: Spool
    selection: Selection
    vocab_size: int
    max_length: int
    report: RowReport
    cleaning: Cleaning

    def origin(self) -> str:
        """SHA-256 of all that is told of where the texts come from and what was met there."""
        found = [
            self.source,
            self.files,
            self.report.skipped.to_json(),
            self.report.notes.to_json(),
        ]
        places = [self.spool.origins[row.number] for row in self.rows()]
        told = json.dumps([found, self.cleaning.to_json(), self.selection.left_out, places])
        return hashlib.sha256(told.encode()).hexdigest()

    def rows(self) -> list[Row]:
        """All rows that were kept, part after part."""
        return [row for name in PARTS for row in self.selection.parts[name]]


def write(made: Path, what: Written) -> None:
    """The arrays, and last of all meta.json."""
    spool, rows = what.spool, what.rows()
    order = np.array([row.number for row in rows], dtype=np.int64)
    tokens = Ragged(spool.tokens(), offsets_of(spool.counts)).take(order)
    words, ids = _numbered(what, tokens)
    _save_rows(
        made / files.IDS, made / files.OFFSETS, [ids[row] for row in _each(tokens)], np.int32
    )
    texts = [np.frombuffer(spool.texts[number], dtype=np.uint8) for number in order]
    _save_rows(made / files.TEXTS, made / files.TEXT_OFFSETS, texts, np.uint8)
    _save(made / files.LABELS, np.array([row.label for row in rows], dtype=np.int64))
    _save(made / files.ORIGINS, np.array([spool.origins[n] for n in order], dtype=np.int64))
    (made / files.VOCABULARY).write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    meta = _meta(what, len(words))
    write_json_atomically(made / files.META, {**meta, "unknown": _unknown(what, made)})


def _numbered(what: Written, tokens: Ragged) -> tuple[list[str], npt.NDArray[np.int32]]:
    """The vocabulary, and the id of each number of the lexicon; train alone is counted."""
    names = list(what.spool.lexicon)
    counts = np.zeros(len(names), dtype=np.int64)
    num_train = len(what.selection.parts["train"])
    for number in range(num_train):
        np.add.at(counts, tokens[number], 1)
    chosen = choose_words(names, counts, what.vocab_size)
    ids = np.full(len(names), UNKNOWN, dtype=np.int32)
    ids[chosen] = np.arange(UNKNOWN + 1, UNKNOWN + 1 + len(chosen))
    for place in np.flatnonzero(ids == UNKNOWN):  # as `encode` has it
        in_small_letters = what.spool.lexicon.get(lower(names[place]))
        if in_small_letters is not None:
            ids[place] = ids[in_small_letters]
    return [names[place] for place in chosen], ids


def _each(rows: Ragged) -> list[npt.NDArray[np.int32]]:
    return [rows[number] for number in range(len(rows))]


def _save_rows(
    path: Path, offsets: Path, rows: Sequence[npt.NDArray[np.generic]], dtype: type[np.generic]
) -> None:
    _save(path, np.concatenate([*rows, np.zeros(0, dtype)]).astype(dtype, copy=False))
    _save(offsets, offsets_of([len(row) for row in rows]))


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    """As `np.save`, which does not say that a disk is full: it loses the error's number."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)


def _unknown(what: Written, made: Path) -> dict[str, float]:
    """Share of each part's tokens that have no id of their own."""
    ids, offsets = np.load(made / files.IDS), np.load(made / files.OFFSETS)
    shares, start = {}, 0
    for name in PARTS:
        stop = start + len(what.selection.parts[name])
        part = ids[offsets[start] : offsets[stop]]
        shares[name] = round(float(np.mean(part == UNKNOWN)), 6) if len(part) else 0.0
        start = stop
    return shares


def _meta(what: Written, num_words: int) -> dict[str, object]:
    report = what.report
    spool, parts = what.spool, what.selection.parts
    lengths = np.array([spool.counts[row.number] for row in what.rows()], dtype=np.int64)
    return {
        "schema": files.SCHEMA,
        "source": what.source,
        "files": what.files,
        "classes": what.classes.names,
        "classes_from": what.classes.origin,
        "vocab_size": num_words + UNKNOWN + 1,
        "max_length": what.max_length,
        "rows": len(spool) + report.skipped.total,
        "parts": {name: len(parts[name]) for name in PARTS},
        "classes_of_parts": {name: _per_class(what, name) for name in PARTS},
        "cut": {name: sum(spool.cut[row.number] for row in parts[name]) for name in PARTS},
        "lengths": {f"{q} %": int(np.percentile(lengths, q)) for q in (5, 50, 95)},
        "skipped": report.skipped.to_json(),
        "notes": report.notes.to_json(),
        "left_out": what.selection.left_out,
        "cleaned": what.cleaning.to_json(),
    }


def _per_class(what: Written, part: str) -> dict[str, int]:
    labels = Counter(row.label for row in what.selection.parts[part])
    return {name: labels[label] for label, name in enumerate(what.classes.names)}


@dataclass(frozen=True)
class DataRequest:
    """What decides the prepared data, beside the texts themselves."""

    val_fraction: float
    test_fraction: float
    vocab_size: int
    max_length: int

    def digest(self, content: object) -> str:
        """SHA-256 over the parameters and what the texts are."""
        numbers = [SCHEMA, self.val_fraction, self.test_fraction, self.vocab_size, self.max_length]
        return hashlib.sha256(json.dumps([numbers, content]).encode()).hexdigest()


def build(request: DataRequest, source: Source, cache: Path, work: Path, tell: Progress) -> Path:
    """Prepare the data in `work` and rename it into the cache; its path.

    Raises:
        UserError: rows are wrong, or too little is left of them.
    """
    report, cleaning = RowReport(), Cleaning()
    spool = read_all(source, report, cleaning, request.max_length, tell)
    classes = check_spool(source, spool, report)
    selection = select(
        spool.rows(classes), val_fraction=request.val_fraction, test_fraction=request.test_fraction
    )
    _check_selection(source, classes, selection)
    what = Written(
        source.name, source.files, classes, spool, selection,
        request.vocab_size, request.max_length, report, cleaning,
    )  # fmt: skip
    key = request.digest(_content(classes, selection, spool))[:32]
    path = cache / "texts" / f"{key}-{what.origin()[:8]}"
    if not is_complete(path):
        made = work / "made"
        made.mkdir()
        write(made, what)
        move_folder_into_place(made, path, is_complete)
    return path


def _content(classes: Classes, selection: Selection, spool: Spool) -> list[object]:
    """What the texts are, whatever file and row they come from."""
    rows = {
        name: [(hashlib.sha256(spool.texts[row.number]).hexdigest(), row.label) for row in part]
        for name, part in selection.parts.items()
    }
    return [classes.names, rows]


def _check_selection(source: Source, classes: Classes, selection: Selection) -> None:
    """Every class needs a text in train, once the copies are gone.

    Raises:
        UserError: naming each class that has none.
    """
    problems = Problems()
    present = {row.label for row in selection.parts["train"]}
    for label, name in enumerate(classes.names):
        if label not in present:
            problems.add(
                "data",
                f"{source.name}: class {name!r} has no text to train on that is not under another "
                "class too; give some",
            )
    problems.raise_if_any()


def prepare(config: DataFields, tell: Progress | None = None) -> TextData:
    """The data for a configuration: from the cache, or read, cleaned, cut, numbered and cached.

    With several ranks let one rank of a host call it and the others then `open_data`.

    Args:
        tell: called with (done, 0) texts now and then; (0, 0) while another process prepares the
            same.

    Raises:
        UserError: anything wrong with the data or the cache's disk.
    """
    tell = tell or (lambda done, total: None)
    request = DataRequest(
        config.val_fraction, config.test_fraction, config.vocab_size, config.max_length
    )
    cache = default_cache_dir("news_cls")
    source = find_source(config.data, Columns(config.text_column, config.label_column), cache)
    path = find_or_build(
        cache, "texts", request.digest(source.signature()), is_complete=is_complete, tell=tell,
        build=lambda work: build(request, source, cache, work, tell),
    )  # fmt: skip
    return open_data(path)


def summary(data: TextData) -> str:
    """One line: texts of each part, and what was left out."""
    classes = f"{len(data.classes)} classes (named by {data.meta['classes_from']})"
    return what_became("texts", data.meta, classes)
