"""Owns the first half of preparing: the source read into the spool, documents listed and split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hvdcore.errors import UserError
from textgen.data.document_index import DocumentIndex, SpooledText
from textgen.data.documents import Progress, Skipped
from textgen.data.sources import Source
from textgen.data.splits import PARTS, Split, split_documents
from textgen.data.spool import SpooledUnit, write_unit
from textgen.data.units import Unit, sum_of_sizes, unit_from_json, unit_to_json
from textgen.data.work_queue import SharedWork, Tell

if TYPE_CHECKING:
    from textgen.data.prepare import DataConfig

__all__ = ["Documents", "read_documents"]


@dataclass(frozen=True)
class Documents:
    """All distinct documents, as every process sees them.

    Attributes:
        texts: reads them.
        table: a row for each (see `DocumentIndex`), memory mapped.
        split: the part of each.
        found: `fingerprint`, `documents`, `duplicates`, `near_duplicates`, `bytes`, `skipped` and
            `skipped_examples`, for meta.json.
    """

    texts: SpooledText
    table: npt.NDArray[Any]
    split: Split
    found: dict[str, Any]


def read_documents(
    work: SharedWork, config: DataConfig, source: Source, progress: Progress
) -> Documents:
    """Read, list and split the documents, or find that done.

    Raises:
        UserError: there is no text in the source, or it cannot be read.
    """
    plan = work.once("plan", lambda _: _plan(source, config.text_column))
    units = [unit_from_json(unit) for unit in plan["units"]]

    def read(number: int, place: Path, tell: Tell) -> dict[str, Any]:
        skipped = Skipped()
        documents = source.documents(units[number], config.text_column, skipped)
        return write_unit(documents, place, skipped, tell)

    results = work.each("read", [sum_of_sizes(unit) for unit in units], read)
    spooled = [SpooledUnit(work.place("read", number)) for number in range(len(units))]
    listed = work.once(
        "list", lambda place: _list(place, config, source, spooled, results, progress)
    )
    place = work.place("list", 0)
    table = np.load(place.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
    parts = (np.load(_part_path(place, name), allow_pickle=False) for name in PARTS)
    split = Split(listed["method"], *parts)
    return Documents(SpooledText(spooled, table), table, split, listed["found"])


def _plan(source: Source, column: str) -> dict[str, Any]:
    units: list[Unit] = source.units(column)
    return {"units": [unit_to_json(unit) for unit in units]}


def _list(
    place: Path,
    config: DataConfig,
    source: Source,
    spooled: list[SpooledUnit],
    results: list[dict[str, Any]],
    progress: Progress,
) -> dict[str, Any]:
    """The table of documents and the parts' numbers in files, the rest as the result."""
    skipped = Skipped()
    for result in results:
        skipped.merge(result["skipped"], result["examples"])
    index = DocumentIndex(spooled)
    if not len(index):
        raise _no_text(source, skipped)
    groups = index.groups(config.near_duplicate_threshold, lambda: progress("compare", 0, 0))
    split = split_documents(
        index.digests(),
        index.table["size"],
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed,
        groups=groups,
    )
    np.save(place.with_suffix(".npy"), index.table)
    for name in PARTS:
        np.save(_part_path(place, name), split.part(name))
    found = {
        "fingerprint": index.fingerprint(),
        "documents": len(index),
        "duplicates": index.duplicates,
        "near_duplicates": index.near_duplicates(groups),
        "bytes": int(index.table["size"].sum()),
        "skipped": dict(sorted(skipped.counts.items())),
        "skipped_examples": skipped.examples,
    }
    return {"method": split.method, "found": found}


def _part_path(place: Path, name: str) -> Path:
    return place.with_suffix(f".{name}.npy")


def _no_text(source: Source, skipped: Skipped) -> UserError:
    reasons = "; ".join(
        f"{count} {reason}" if count > 1 else reason for reason, count in skipped.counts.items()
    )
    return UserError(
        f"data: {source.name}: no text in it ({reasons or 'no documents'}); give UTF-8 text"
    )
