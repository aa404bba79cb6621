"""All rows of a source in memory, read once: cleaned text, tokens, label and origin of each."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.prepared import ProgressCallback, note_class_names
from hvdcore.classifier.splits import Row
from hvdcore.errors import Problems, UserError
from news_cls.data.clean import Cleaning
from news_cls.data.labels import Classes, Label, SeenLabel, check_classes, find_classes, label_value
from news_cls.data.row_report import RowReport
from news_cls.data.source import RawRow, Source
from news_cls.data.tokens import Lexicon, lower, tokenize

__all__ = ["StagedRows", "check_staged", "read_all"]

PROGRESS_EVERY = 1000


@dataclass
class StagedRows:
    """The rows that were read; the attributes are parallel lists.

    Attributes:
        texts: cleaned, UTF-8.
        digests: SHA-256 of the lower-cased tokens, which identifies copies.
        numbers: tokens of all rows, numbered by `lexicon`, the first `max_length` of each.
        counts: tokens of each row.
        cut: whether the text had more tokens than are kept.
        labels: as they are in the files.
        splits: as the data assigns them; None if it has none.
        origins: file and row.
    """

    lexicon: Lexicon = field(default_factory=Lexicon)
    texts: list[bytes] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    numbers: array[int] = field(default_factory=lambda: array("i"))
    counts: list[int] = field(default_factory=list)
    cut: list[bool] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    origins: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, row: RawRow, label: Label, text: str, tokens: list[str], max_length: int) -> None:
        """Add a row."""
        kept = self.lexicon.numbers(tokens[:max_length])
        self.texts.append(text.encode())
        self.digests.append(hashlib.sha256(lower(" ".join(tokens)).encode()).hexdigest())
        self.numbers.frombytes(kept.tobytes())
        self.counts.append(len(kept))
        self.cut.append(len(tokens) > max_length)
        self.labels.append(label)
        self.splits.append(row.split)
        self.origins.append((row.file, row.row))

    def seen(self) -> set[SeenLabel]:
        """The distinct labels, and whether train has them."""
        pairs = zip(self.labels, self.splits, strict=True)
        return {SeenLabel(label, split in (None, "train")) for label, split in pairs}

    def rows(self, classes: Classes) -> list[Row]:
        """All rows, to be split."""
        labels = [classes.index[label] for label in self.labels]
        columns = zip(range(len(self)), labels, self.splits, self.digests, strict=True)
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
    progress: ProgressCallback,
) -> StagedRows:
    """Read, clean and tokenize every row. What is wrong is added to `report`."""
    staged, files = StagedRows(), source.files
    for done, row in enumerate(source.rows(report), start=1):
        if done % PROGRESS_EVERY == 0:
            progress(done, 0)
        value = label_value(row.label)
        if value is None:
            report.wrong(files[row.file], row.row, "no label; give one, or remove the row")
            continue
        text = cleaning.clean(row.text)
        tokens = tokenize(text)
        if not tokens:
            report.skipped.add("nothing but residue", f"{files[row.file]} row {row.row}")
            report.lost_labels.add(value)
            continue
        staged.add(row, Label(value, row.first_label), text, tokens, max_length)
    return staged


def check_staged(source: Source, staged: StagedRows, report: RowReport) -> Classes:
    """The classes of the rows.

    Raises:
        UserError: rows are wrong, with all problems at once, or most rows cannot be used.
    """
    with report.catching():
        _check_skipped(source, staged, report)
    if not staged:
        report.raise_if_any()
        raise UserError(f"data: {source.name}: no rows; give a file with rows")
    classes = find_classes(staged.seen(), *source.class_names())
    for label, (file, row) in zip(staged.labels, staged.origins, strict=True):
        if label in classes.problems:
            report.wrong(source.files[file], row, classes.problems[label])
    _check_lost(source, staged, report)
    report.note_encoding()
    note_class_names(classes.names, report.notes)
    # Only now: rows that could not be read may be those of the missing classes.
    report.raise_if_any()
    check_classes(classes)
    return classes


def _check_lost(source: Source, staged: StagedRows, report: RowReport) -> None:
    """Add the labels of which no row can be used: a class would be gone without a word."""
    met = {label.value for label in staged.labels}
    lost = {label_value(label) for label in report.lost_labels} - met - {None}
    reasons = ", ".join(report.skipped.counts)
    if encoding := report.encoding():
        reasons += f": --encoding {encoding} would read them"
    with report.catching():
        problems = Problems()
        for label in sorted(lost, key=str):
            problems.add(
                "data",
                f"{source.name}: no row of label {str(label)[:40]!r} can be used ({reasons}); fix "
                "its rows, or remove them all",
            )
        problems.raise_if_any()


def _check_skipped(source: Source, staged: StagedRows, report: RowReport) -> None:
    skipped = report.skipped
    if skipped.total > len(staged):
        reasons = ", ".join(
            f"{count} {reason} ({skipped.examples[reason][0]})"
            for reason, count in skipped.counts.most_common(3)
        )
        raise UserError(
            f"data: {source.name}: most rows cannot be used: {reasons}; fix the file (convert "
            "another encoding than UTF-8 with iconv)"
        )
