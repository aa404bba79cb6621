"""Owns the first half of preparing: the source read into the spool, documents listed and split.

Owns the list of all documents, each content once, and what is known of them together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hvdcore.errors import UserError
from textgen.data.dedup import BANDS, SKETCH_SIZE, find_groups
from textgen.data.documents import (
    Progress,
    Skipped,
    Unit,
    sum_of_sizes,
    unit_from_json,
    unit_to_json,
)
from textgen.data.sources import Source
from textgen.data.splits import PARTS, Split, split_documents
from textgen.data.spool import DOCUMENT, SpooledUnit, write_unit
from textgen.data.work_queue import SharedWork, Tell

if TYPE_CHECKING:
    from textgen.data.config import DataConfig

__all__ = [
    "DocumentIndex",
    "Documents",
    "SpooledText",
    "read_documents",
]

Numbers = npt.NDArray[np.int64]

_INDEXED = np.dtype([*((name, DOCUMENT[name]) for name in DOCUMENT.names or ()), ("unit", "<i4")])
_EXAMPLES = 5


class DocumentIndex:
    """Distinct documents in the order of their content hashes: names and order do not count.

    Attributes:
        table: a row for each document: those of DOCUMENT, and the unit that it lies in.
        rows: each document's number within its unit.
        duplicates: documents left out because another has the same text.
    """

    def __init__(self, units: Sequence[SpooledUnit]) -> None:
        self._units = units
        tables = [unit.table() for unit in units]
        found = np.empty(sum(map(len, tables)), dtype=_INDEXED)
        rows = np.empty(len(found), dtype=np.int64)
        end = 0
        for number, table in enumerate(tables):
            here = slice(end, end + len(table))
            for name in DOCUMENT.names or ():
                found[name][here] = table[name]
            found["unit"][here] = number
            rows[here] = np.arange(len(table))
            end += len(table)
        digests = found["digest"]
        order = np.lexsort([rows, found["unit"], *(digests[:, place] for place in (3, 2, 1, 0))])
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (digests[order[1:]] != digests[order[:-1]]).any(axis=1)
        kept = order[is_first]
        self._positions: Numbers = kept  # in the order of the source
        self.table, self.rows = found[kept], rows[kept]
        self.duplicates = len(order) - len(kept)

    def __len__(self) -> int:
        return len(self.table)

    def digests(self) -> npt.NDArray[Any]:
        """Content hashes, increasing, [documents, 32] bytes."""
        packed = np.ascontiguousarray(self.table["digest"])
        return packed.view(np.uint8).reshape(len(self), 32)

    def fingerprint(self) -> str:
        """Hash of the set of documents."""
        return hashlib.sha256(self.digests().tobytes()).hexdigest()

    def groups(self, threshold: float, tell: Callable[[], None]) -> Numbers:
        """The first document of each one's group of near-duplicates, [documents].

        Args:
            threshold: least similarity; 1 leaves every document alone.
            tell: called now and then.
        """
        if threshold >= 1:
            return np.arange(len(self), dtype=np.int64)

        def band(number: int) -> npt.NDArray[np.uint64]:
            tell()
            all_units = [unit.band(number) for unit in self._units]
            return np.concatenate([np.empty(0, np.uint64), *all_units])[self._positions]

        return find_groups(len(self), BANDS, band, self._sketches, threshold)

    def near_duplicates(self, groups: Numbers) -> dict[str, Any]:
        """How many groups of two or more there are, documents in them, and the first few pairs."""
        beside = np.flatnonzero(groups != np.arange(len(groups)))
        firsts, numbers = np.unique(groups[beside], return_index=True)
        pairs = zip(firsts[:_EXAMPLES], beside[numbers[:_EXAMPLES]], strict=True)
        return {
            "groups": len(firsts),
            "documents": len(firsts) + len(beside),
            "examples": [[self._origin(one), self._origin(other)] for one, other in pairs],
        }

    def _origin(self, number: np.int64) -> str:
        return self._units[self.table["unit"][number]].origins()[self.rows[number]]

    def _sketches(self, numbers: Numbers) -> npt.NDArray[np.uint32]:
        made = np.empty((len(numbers), SKETCH_SIZE), dtype=np.uint32)
        units = self.table["unit"][numbers]
        for unit in np.unique(units):
            here = units == unit
            made[here] = self._units[unit].sketches()[self.rows[numbers[here]]]
        return made


class SpooledText:
    """Reads what the index lists.

    Args:
        table: `DocumentIndex.table`.
    """

    def __init__(self, units: Sequence[SpooledUnit], table: npt.NDArray[Any]) -> None:
        self._paths: list[Path] = [unit.text_path for unit in units]
        self._table = table

    def read(self, number: int, start: int, stop: int) -> bytes:
        """Bytes start to stop of one document's normalised UTF-8."""
        row = self._table[number]
        with self._paths[row["unit"]].open("rb", buffering=0) as file:
            file.seek(int(row["start"]) + start)
            return file.read(stop - start)

    def size(self, number: int) -> int:
        """Bytes of one document."""
        return int(self._table["size"][number])


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
