"""All rows of a source in memory, read once: cleaned text, tokens, label and origin of each."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.splits import Row
from hvdcore.errors import UserError
from news_cls.data.clean import Cleaning
from news_cls.data.labels import Classes, Label, SeenLabel, check_classes, find_classes, label_value
from news_cls.data.row_report import RowReport
from news_cls.data.source import RawRow, Source
from news_cls.data.tokens import Lexicon, lower, tokenize

__all__ = ["Spool", "check_spool", "read_all"]

_TELL_EVERY = 1000


@dataclass
class Spool:
    """What was read, row by row; the attributes are parallel.

    Attributes:
        texts: cleaned, UTF-8.
        digests: SHA-256 of the tokens in small letters, by which copies are known.
        numbers: tokens of all rows, numbered by `lexicon`, the first `max_length` of each.
        counts: how many of them each row has.
        cut: whether a text had more tokens than are kept.
        labels: as they stand in the files.
        origins: file and row.
    """

    lexicon: Lexicon = field(default_factory=Lexicon)
    texts: list[bytes] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    numbers: array[int] = field(default_factory=lambda: array("i"))
    counts: list[int] = field(default_factory=list)
    cut: list[bool] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    parts: list[str | None] = field(default_factory=list)
    origins: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, row: RawRow, label: Label, text: str, tokens: list[str], max_length: int) -> None:
        """Take a row in."""
        kept = self.lexicon.numbers(tokens[:max_length])
        self.texts.append(text.encode())
        self.digests.append(hashlib.sha256(lower(" ".join(tokens)).encode()).hexdigest())
        self.numbers.frombytes(kept.tobytes())
        self.counts.append(len(kept))
        self.cut.append(len(tokens) > max_length)
        self.labels.append(label)
        self.parts.append(row.part)
        self.origins.append((row.file, row.row))

    def seen(self) -> set[SeenLabel]:
        """Every label that was met."""
        pairs = zip(self.labels, self.parts, strict=True)
        return {SeenLabel(label, part in (None, "train")) for label, part in pairs}

    def rows(self, classes: Classes) -> list[Row]:
        """Every row as it is cut into parts."""
        labels = [classes.index[label] for label in self.labels]
        columns = zip(range(len(self)), labels, self.parts, self.digests, strict=True)
        return [Row(*values) for values in columns]

    def tokens(self) -> npt.NDArray[np.int32]:
        """`numbers` as an array."""
        return (
            np.frombuffer(self.numbers, dtype=np.int32) if self.numbers else np.zeros(0, np.int32)
        )


def read_all(
    source: Source,
    report: RowReport,
    cleaning: Cleaning,
    max_length: int,
    tell: Callable[[int, int], None],
) -> Spool:
    """Read, clean and tokenize every row. What is wrong is put down in `report`."""
    spool, files = Spool(), source.files
    for done, row in enumerate(source.rows(report), start=1):
        if done % _TELL_EVERY == 0:
            tell(done, 0)
        value = label_value(row.label)
        if value is None:
            report.wrong(files[row.file], row.row, "no label; give one, or take the row out")
            continue
        text = cleaning.clean(row.text)
        tokens = tokenize(text)
        if not tokens:
            report.skipped.add("nothing but residue", f"{files[row.file]} row {row.row}")
            continue
        spool.add(row, Label(value, row.first_label), text, tokens, max_length)
    return spool


def check_spool(source: Source, spool: Spool, report: RowReport) -> Classes:
    """The classes; every row that is wrong in any way is told at once.

    Raises:
        UserError: something is wrong, or most rows could not be used.
    """
    with report.catching():
        _check_skipped(source, spool, report)
    if not spool:
        report.raise_if_any()
        raise UserError(f"data: {source.name}: no rows; give a file that has some")
    classes = find_classes(spool.seen(), *source.class_names())
    for label, (file, row) in zip(spool.labels, spool.origins, strict=True):
        if label in classes.problems:
            report.wrong(source.files[file], row, classes.problems[label])
    # Only now: rows that could not be read may hold the classes that are missing.
    report.raise_if_any()
    check_classes(classes)
    return classes


def _check_skipped(source: Source, spool: Spool, report: RowReport) -> None:
    skipped = report.skipped
    if skipped.total > len(spool):
        reasons = ", ".join(
            f"{count} {reason} ({skipped.examples[reason][0]})"
            for reason, count in skipped.counts.most_common(3)
        )
        raise UserError(
            f"data: {source.name}: most rows cannot be used: {reasons}; mend the file (text in "
            "another encoding than UTF-8: iconv)"
        )
