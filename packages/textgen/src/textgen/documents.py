"""Owns what a document is, and what is left out: text that is none, rows without text.

A document is text as it stands in its source, with two things made uniform: a leading byte order
mark is dropped and CRLF becomes LF. Nothing else is touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from hvdcore.errors import UserError

__all__ = [
    "Document",
    "Progress",
    "Skipped",
    "missing_column",
    "normalise",
    "row_document",
    "text_document",
]

_EXAMPLES = 5

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total); units are bytes of text; total 0 when unknown."""


@dataclass(frozen=True)
class Document:
    """One document.

    Attributes:
        text: normalised UTF-8.
        origin: where it came from, for messages.
        bits: information in the choices that generated it, where that is known.
    """

    text: bytes
    origin: str
    bits: float | None = None


@dataclass
class Skipped:
    """What was left out, by reason, with the first few names."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, origin: str) -> None:
        """Count one document left out."""
        self.counts[reason] += 1
        names = self.examples.setdefault(reason, [])
        if len(names) < _EXAMPLES:
            names.append(origin)


def normalise(raw: bytes) -> bytes:
    """Drop a leading byte order mark, make CRLF into LF."""
    return raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")


def why_not_text(text: bytes) -> str | None:
    """The reason why bytes are no document, or None when they are one."""
    if not text.strip():
        return "empty"
    if b"\0" in text:
        return "not text (holds NUL bytes)"
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return "not text (not valid UTF-8)"
    return None


def text_document(raw: bytes, origin: str, skipped: Skipped) -> Iterator[Document]:
    """The document in raw bytes, or none when it is counted in `skipped`."""
    text = normalise(raw)
    reason = why_not_text(text)
    if reason is None:
        yield Document(text, origin)
    else:
        skipped.add(reason, origin)


def row_document(value: object, origin: str, column: str, skipped: Skipped) -> Iterator[Document]:
    """The document in one row's column, or none when it is counted in `skipped`.

    Raises:
        UserError: the column holds something other than text.
    """
    if value is None:
        skipped.add("empty", origin)
    elif not isinstance(value, str):
        raise UserError(
            f"data: {origin}: column {column!r} holds {type(value).__name__}, not text; "
            "name another with --text-column"
        )
    else:
        # A lone surrogate, which JSON can spell, has no UTF-8 form: kept as bytes that fail later.
        yield from text_document(value.encode("utf-8", "surrogatepass"), origin, skipped)


def missing_column(origin: str, column: str, names: Sequence[str]) -> UserError:
    """The error for data without the text column: it lists the columns that are there."""
    listed = ", ".join(names) if names else "none"
    return UserError(
        f"data: {origin}: no column {column!r}; it has {listed}: name one with --text-column"
    )
