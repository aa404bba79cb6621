"""Making prepared data: read and clean each row, look for copies, cut into parts, number, write."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from hvdcore.classifier.prepared import Progress
from hvdcore.classifier.splits import Selection, select
from hvdcore.errors import Problems
from hvdcore.files.atomic import move_folder_into_place
from news_cls.data.clean import Cleaning
from news_cls.data.dataset import SCHEMA, is_complete
from news_cls.data.labels import Classes
from news_cls.data.row_report import RowReport
from news_cls.data.source import Source
from news_cls.data.spool import Spool, check_spool, read_all
from news_cls.data.write_data import Written, write

__all__ = ["DataRequest", "build"]


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
