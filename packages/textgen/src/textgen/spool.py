"""Owns the one temporary file that all documents are read into, each content once.

Sources are read a single time, so what is split is what is tokenized, whatever changes meanwhile;
later steps read documents in any order without holding them in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from textgen.documents import Document, Progress

__all__ = ["Spool", "write_spool"]


@dataclass(frozen=True)
class Spool:
    """Distinct documents in the order of their content hashes: names and order do not count.

    Attributes:
        path: file of all texts, one after another, as they were read.
        digests: SHA-256 of each document's normalised text, increasing.
        starts, sizes: where each document lies in the file, in bytes.
        bits: information in the choices that made each document, where its source knows it.
        duplicates: documents left out because another has the same text.
    """

    path: Path
    digests: tuple[bytes, ...]
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    bits: tuple[float | None, ...]
    duplicates: int

    def __len__(self) -> int:
        return len(self.digests)

    def text(self, number: int) -> bytes:
        """The normalised UTF-8 of one document."""
        with self.path.open("rb") as file:
            file.seek(self.starts[number])
            return file.read(self.sizes[number])

    def fingerprint(self) -> str:
        """Hash of the set of documents."""
        return hashlib.sha256(b"".join(self.digests)).hexdigest()


def write_spool(
    documents: Iterable[Document], path: Path, total_bytes: int, progress: Progress
) -> Spool:
    """Write each distinct document to `path` once."""
    places: dict[bytes, tuple[int, int, float | None]] = {}
    duplicates = 0
    end = 0
    with path.open("wb") as file:
        for document in documents:
            digest = hashlib.sha256(document.text).digest()
            if digest in places:
                duplicates += 1
                continue
            places[digest] = (end, len(document.text), document.bits)
            file.write(document.text)
            end += len(document.text)
            progress("read", end, total_bytes)
    digests = tuple(sorted(places))
    found = [places[digest] for digest in digests]
    return Spool(
        path,
        digests,
        starts=tuple(start for start, _, _ in found),
        sizes=tuple(size for _, size, _ in found),
        bits=tuple(bits for _, _, bits in found),
        duplicates=duplicates,
    )
