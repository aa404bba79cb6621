"""Staging files: each unit of the source is read once, checked to be text, and kept on disk.

What is split is then exactly what is tokenized, whatever changes in the source meanwhile, and later
stages read documents in any order without holding them in memory.

The checks for text are coarse on purpose: prose, verse and dialogue in any script pass, and so does
most of what else people keep in text files. Documents that fail are counted, named and skipped.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from textgen.data.dedup import BANDS, SKETCH_SIZE, Sketcher, band_hashes
from textgen.data.documents import Document, Skipped, blocks_of, normalized
from textgen.data.licence import without_licence
from textgen.data.work_queue import Advance

__all__ = [
    "DOCUMENT",
    "StagedUnit",
    "TextCheck",
    "write_unit",
]

DOCUMENT = np.dtype(
    [("digest", ">u8", 4), ("start", "<i8"), ("size", "<i8"), ("bits", "<f8"), ("words", "?")]
)
"""SHA-256 of the normalized text; offset and length of the text in the unit's file; entropy of the
choices that generated it, NaN where unknown; whether it has a sketch."""

_ROWS_AT_ONCE = 1 << 12  # of band hashes

_MIN_CHECKED_BYTES = 1000  # without blanks; a shorter text is too little to tell from
_MAX_CONTROL = 0.01  # of all bytes
_MIN_LETTERS = 0.1  # of the bytes without blanks
_LONG_RUN = 60  # bytes of letters and digits without a blank between
_MAX_IN_LONG_RUNS = 0.5  # of the bytes without blanks

_BLANKS = list(b"\t\n\v\f\r ")
_CONTROL = [code for code in [*range(1, 32), 127] if code not in _BLANKS]
# Every byte of a non-ASCII character counts as a letter: no script may fail here.
_LETTERS = [*range(65, 91), *range(97, 123), *range(128, 256)]
_ENDS_A_RUN = np.ones(256, dtype=bool)
_ENDS_A_RUN[[*range(48, 58), *range(65, 91), *range(97, 123), *b"+/=_-"]] = False


_HTML = re.compile(
    rb"\s{0,64}(?:<\?xml[^<>]{0,200}>\s{0,64})?<(?:!doctype\s{1,8}html|html)\b", re.IGNORECASE
)
_BINARY = (
    (0, b"PK\x03\x04", "a zip archive or an Office document: unpack or convert it"),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document: convert it to text"),
    (0, b"%PDF-", "PDF: convert it to text"),
    (257, b"ustar", "a tar archive: unpack it"),
    (0, b"\x1f\x8b", "gzip within gzip: decompress it"),
    (0, b"BZh", "compressed with bzip2: decompress it"),
    (0, b"\xfd7zXZ", "compressed with xz: decompress it"),
    (0, b"\xff\xfe", "UTF-16: save it as UTF-8"),
    (0, b"\xfe\xff", "UTF-16: save it as UTF-8"),
)
"""Position and bytes by which formats are known, of documents that are no text."""


class TextCheck:
    """Decides block by block whether a document is text, and if not, why."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_utf8 = True
        self._counts = np.zeros(256, dtype=np.int64)
        self._in_long_runs = 0
        self._is_html: bool | None = None  # None until the first bytes
        self._format = ""

    def feed(self, block: bytes, codes: npt.NDArray[np.uint8]) -> None:
        """Add the next block; `codes` are its bytes."""
        if self._is_html is None:
            self._is_html = bool(_HTML.match(block[:1024]))
            self._format = next((what for at, b, what in _BINARY if block.startswith(b, at)), "")
        self._decode(block)
        self._counts += np.bincount(codes, minlength=256)
        ends = np.flatnonzero(_ENDS_A_RUN[codes])
        runs = np.diff(ends, prepend=-1, append=len(codes)) - 1
        self._in_long_runs += int(runs[runs >= _LONG_RUN].sum())

    @property
    def failed(self) -> bool:
        """Whether this is known not to be text already, so that the rest need not be read."""
        return not self._is_utf8 or bool(self._counts[0]) or bool(self._is_html)

    def reason(self) -> str | None:
        """Why the document is not text, or None when it is."""
        if self._is_html:
            return "not text (HTML: convert it to text)"
        if self._counts[0]:
            return f"not text ({self._format or 'holds NUL bytes'})"
        self._decode(b"", final=True)
        if not self._is_utf8:
            return f"not text ({self._format or 'not valid UTF-8'})"
        size = int(self._counts.sum())
        visible = size - int(self._counts[_BLANKS].sum())
        if not visible:
            return "empty"
        if visible < _MIN_CHECKED_BYTES:
            return None
        if self._counts[_CONTROL].sum() > _MAX_CONTROL * size:
            return "not text (control characters)"
        if self._counts[_LETTERS].sum() < _MIN_LETTERS * visible:
            return "not text (hardly a letter)"
        if self._in_long_runs > _MAX_IN_LONG_RUNS * visible:
            return "not text (long runs without blanks)"
        return None

    def _decode(self, block: bytes, *, final: bool = False) -> None:
        try:
            if self._is_utf8:
                self._decoder.decode(block, final)
        except UnicodeDecodeError:
            self._is_utf8 = False


class StagedUnit:
    """The files of one unit: texts, table, sketches and their bands, origins.

    Args:
        prefix: what the names of the files start with.
    """

    def __init__(self, prefix: Path) -> None:
        self.text_path = prefix.with_suffix(".text")
        self._table = prefix.with_suffix(".npy")
        self._sketches = prefix.with_suffix(".sketches")
        self._bands = prefix.with_suffix(".bands.npy")
        self._origins = prefix.with_suffix(".origins.json")

    def table(self) -> npt.NDArray[Any]:
        """One row of type DOCUMENT for each document, in the order of the source."""
        rows: npt.NDArray[Any] = np.load(self._table, allow_pickle=False)
        return rows

    def sketches(self) -> npt.NDArray[np.uint32]:
        """[documents, SKETCH_SIZE], memory mapped; the unit must not be empty."""
        mapped = np.memmap(self._sketches, dtype=np.uint32, mode="r")
        return mapped.reshape(-1, SKETCH_SIZE)

    def band(self, number: int) -> npt.NDArray[np.uint64]:
        """The hashes of one band, [documents]; 0 for a document without a sketch."""
        bands: npt.NDArray[np.uint64] = np.load(self._bands, mmap_mode="r", allow_pickle=False)
        return np.array(bands[number])

    def origins(self) -> list[str]:
        """The origin of each document."""
        names: list[str] = json.loads(self._origins.read_text(encoding="utf-8"))
        return names

    def write(self, documents: Iterable[Document], skipped: Skipped, advance: Advance) -> int:
        """Write the documents that are text, count the others in `skipped`; return the bytes."""
        rows: list[tuple[Any, ...]] = []
        origins: list[str] = []
        with self.text_path.open("wb") as texts, self._sketches.open("wb") as sketches:
            for document in documents:
                row = _write_document(document, texts, sketches, advance, skipped.licence_cut)
                if isinstance(row, str):
                    skipped.add(row, document.origin)
                else:
                    rows.append(row)
                    origins.append(document.origin)
            size = texts.tell()
            texts.flush()
            os.fsync(texts.fileno())
        table = np.array(rows, dtype=DOCUMENT)
        np.save(self._table, table)
        self._write_bands(table)
        self._origins.write_text(json.dumps(origins), encoding="utf-8")
        return size

    def _write_bands(self, table: npt.NDArray[Any]) -> None:
        bands = np.zeros((BANDS, len(table)), dtype=np.uint64)
        if len(table):
            sketches = self.sketches()
            for start in range(0, len(table), _ROWS_AT_ONCE):
                rows = slice(start, start + _ROWS_AT_ONCE)
                bands[:, rows] = band_hashes(sketches[rows]) * table["words"][rows]
        np.save(self._bands, bands)


def write_unit(
    documents: Iterable[Document], prefix: Path, skipped: Skipped, advance: Advance
) -> dict[str, Any]:
    """Read a unit into staging files.

    Returns:
        Bytes and number of documents, what was skipped, and how many lost a licence.
    """
    unit = StagedUnit(prefix)
    size = unit.write(documents, skipped, advance)
    return {
        "bytes": size,
        "documents": len(unit.table()),
        "skipped": dict(skipped.counts),
        "examples": skipped.examples,
        "licences": skipped.licences,
    }


def _write_document(
    document: Document,
    texts: IO[bytes],
    sketches: IO[bytes],
    advance: Advance,
    licence_cut: Callable[[], None],
) -> tuple[Any, ...] | str:
    """A row of the table, or the reason why the document is not text; then nothing is written."""
    start, size = texts.tell(), 0
    check, sketcher, digest = TextCheck(), Sketcher(), hashlib.sha256()
    for block in blocks_of(without_licence(normalized(document.raw), licence_cut)):
        codes = np.frombuffer(block, dtype=np.uint8)
        check.feed(block, codes)
        if check.failed:
            break
        sketcher.feed(codes)
        digest.update(block)
        texts.write(block)
        size += len(block)
        advance(len(block))
    reason = check.reason()
    if reason is not None:
        texts.seek(start)
        texts.truncate()
        return reason
    sketch = sketcher.sketch()
    sketches.write(bytes(4 * SKETCH_SIZE) if sketch is None else sketch.tobytes())
    bits = np.nan if document.bits is None else document.bits
    hashed = np.frombuffer(digest.digest(), dtype=">u8")
    return hashed, start, size, bits, sketch is not None
