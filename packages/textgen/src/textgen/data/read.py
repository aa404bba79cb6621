"""Reading the source into staging files, listing the distinct documents, and splitting them."""

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
from textgen.data.files import FileSource
from textgen.data.sources import Source
from textgen.data.splits import SPLITS, SplitIndices, split_documents
from textgen.data.staging import DOCUMENT, StagedUnit, write_unit
from textgen.data.work_queue import Advance, SharedWork

if TYPE_CHECKING:
    from textgen.data.config import DataConfig

__all__ = [
    "DocumentIndex",
    "Documents",
    "StagedText",
    "read_documents",
]

Numbers = npt.NDArray[np.int64]

_INDEXED = np.dtype([*((name, DOCUMENT[name]) for name in DOCUMENT.names or ()), ("unit", "<i4")])
_EXAMPLES = 5


class DocumentIndex:
    """Distinct documents in the order of their content hashes, whatever their names and order.

    Attributes:
        table: one row per document: the fields of DOCUMENT, and its unit.
        rows: each document's number within its unit.
        duplicates: documents skipped because another has the same text.
    """

    def __init__(self, units: Sequence[StagedUnit]) -> None:
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
        order = np.lexsort([rows, found["unit"], *(digests[:, word] for word in (3, 2, 1, 0))])
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
        """SHA-256 of the set of documents."""
        return hashlib.sha256(self.digests().tobytes()).hexdigest()

    def groups(self, threshold: float, beat: Callable[[], None]) -> Numbers:
        """The first document of each document's group of near-duplicates, [documents].

        Args:
            threshold: smallest similarity; 1 for no groups.
            beat: called now and then.
        """
        if threshold >= 1:
            return np.arange(len(self), dtype=np.int64)

        def band(number: int) -> npt.NDArray[np.uint64]:
            beat()
            all_units = [unit.band(number) for unit in self._units]
            return np.concatenate([np.empty(0, np.uint64), *all_units])[self._positions]

        return find_groups(len(self), BANDS, band, self._sketches, threshold)

    def near_duplicates(self, groups: Numbers) -> dict[str, Any]:
        """Number of groups of two or more, of documents in them, and the first few pairs."""
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


class StagedText:
    """The text of the documents of an index.

    Args:
        table: `DocumentIndex.table`.
    """

    def __init__(self, units: Sequence[StagedUnit], table: npt.NDArray[Any]) -> None:
        self._paths: list[Path] = [unit.text_path for unit in units]
        self._table = table

    def read(self, number: int, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of a document's normalized UTF-8."""
        row = self._table[number]
        with self._paths[row["unit"]].open("rb", buffering=0) as file:
            file.seek(int(row["start"]) + start)
            return file.read(stop - start)

    def size(self, number: int) -> int:
        """Bytes of a document."""
        return int(self._table["size"][number])


@dataclass(frozen=True)
class Documents:
    """All distinct documents, the same in every process.

    Attributes:
        texts: their text.
        table: one row per document (see `DocumentIndex`), memory mapped.
        split: the split of each.
        found: `fingerprint`, `documents`, `duplicates`, `near_duplicates`, `bytes`, `skipped`,
            `skipped_examples` and, where there are some, `licences`, for meta.json.
    """

    texts: StagedText
    table: npt.NDArray[Any]
    split: SplitIndices
    found: dict[str, Any]


def read_documents(
    work: SharedWork, config: DataConfig, source: Source, split_seed: int, progress: Progress
) -> Documents:
    """Read, list and split the documents, together with the other processes in `work`.

    Raises:
        UserError: there is no text in the source, or it cannot be read.
    """
    plan = work.once("plan", lambda _: _plan(source, config.text_column))
    units = [unit_from_json(unit) for unit in plan["units"]]

    def read(number: int, prefix: Path, advance: Advance) -> dict[str, Any]:
        skipped = Skipped()
        documents = source.documents(units[number], config.text_column, skipped)
        return write_unit(documents, prefix, skipped, advance)

    results = work.each("read", [sum_of_sizes(unit) for unit in units], read)
    staged = [StagedUnit(work.prefix("read", number)) for number in range(len(units))]
    listed = work.once(
        "list", lambda prefix: _list(prefix, config, source, staged, results, split_seed, progress)
    )
    prefix = work.prefix("list", 0)
    table = np.load(prefix.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
    indices = (np.load(_split_path(prefix, name), allow_pickle=False) for name in SPLITS)
    split = SplitIndices(listed["method"], *indices)
    return Documents(StagedText(staged, table), table, split, listed["found"])


def _plan(source: Source, column: str) -> dict[str, Any]:
    units: list[Unit] = source.units(column)
    return {"units": [unit_to_json(unit) for unit in units]}


def _list(
    prefix: Path,
    config: DataConfig,
    source: Source,
    staged: list[StagedUnit],
    results: list[dict[str, Any]],
    split_seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Write the table of documents and the indices of the splits; return the rest as the result."""
    skipped = Skipped()
    if isinstance(source, FileSource):
        skipped.merge(dict(source.passed_over.counts), source.passed_over.examples)
    for result in results:
        skipped.merge(result["skipped"], result["examples"])
    index = DocumentIndex(staged)
    if not len(index):
        raise _no_text(source, skipped)
    groups = index.groups(config.near_duplicate_threshold, lambda: progress("compare", 0, 0))
    split = split_documents(
        index.digests(),
        index.table["size"],
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=split_seed,
        groups=groups,
    )
    np.save(prefix.with_suffix(".npy"), index.table)
    for name in SPLITS:
        np.save(_split_path(prefix, name), split.of(name))
    found = {
        "fingerprint": index.fingerprint(),
        "documents": len(index),
        "duplicates": index.duplicates,
        "near_duplicates": index.near_duplicates(groups),
        "bytes": int(index.table["size"].sum()),
        "skipped": dict(sorted(skipped.counts.items())),
        "skipped_examples": skipped.examples,
        "licences": sum(result.get("licences", 0) for result in results),
    }
    return {"method": split.method, "found": found}


def _split_path(prefix: Path, name: str) -> Path:
    return prefix.with_suffix(f".{name}.npy")


def _no_text(source: Source, skipped: Skipped) -> UserError:
    reasons = "; ".join(
        f"{count} {reason}" if count > 1 else reason for reason, count in skipped.counts.items()
    )
    return UserError(
        f"data: {source.name}: it has no text ({reasons or 'no documents'}); give UTF-8 text"
    )
