"""Owns the list of all documents, each content once, and what is known of them together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from textgen.data.dedup import find_groups
from textgen.data.shingles import BANDS, SKETCH_SIZE
from textgen.data.spool import DOCUMENT, SpooledUnit

__all__ = ["DocumentIndex", "SpooledText"]

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
