"""Documents, and the units of a source that reading is distributed by.

A document is text as it stands in its source, with two normalizations: a leading byte order mark is
dropped and CRLF becomes LF. It is read in blocks, so its length does not matter for memory.

A unit is a group of shards of the source. Units depend on the source alone, not on the number of
processes, so what one process has read serves all others, and the next run after a kill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hvdcore.errors import UserError

__all__ = [
    "BLOCK_BYTES",
    "UNIT_BYTES",
    "Document",
    "MissingColumn",
    "Progress",
    "Skipped",
    "SourceShard",
    "Unit",
    "blocks_of",
    "group_shards",
    "missing_column",
    "normalized",
    "row_document",
    "unit_from_json",
    "unit_to_json",
]

BLOCK_BYTES = 1 << 18
"""Bytes of a document that are processed at once."""

UNIT_BYTES = 32 << 20
"""A unit is closed when it holds this much text: what each process can lose to a kill."""

_MAX_SHARDS = 1000  # of a unit, for files so small that opening them takes longer than reading
_EXAMPLES = 5
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total), in bytes of text; total is 0 when unknown."""


@dataclass(frozen=True)
class Document:
    """One document, not yet checked to be text.

    Attributes:
        raw: its bytes as they come from the source, in chunks of any size; iterated once.
        origin: where it came from, for messages.
        bits: entropy of the choices that generated it, where that is known.
    """

    raw: Iterable[bytes]
    origin: str
    bits: float | None = None


@dataclass
class Skipped:
    """Documents that were skipped: counts by reason, and the first few origins of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    licences: int = 0
    """Documents of which a licence was cut off, which are not skipped."""

    def licence_cut(self) -> None:
        """Count a document without its licence."""
        self.licences += 1

    def add(self, reason: str, origin: str) -> None:
        """Count one skipped document."""
        self.merge({reason: 1}, {reason: [origin]})

    def merge(self, counts: dict[str, int], examples: dict[str, list[str]]) -> None:
        """Add the counts and examples of another process or unit."""
        self.counts.update(counts)
        for reason, origins in examples.items():
            names = self.examples.setdefault(reason, [])
            names += origins[: _EXAMPLES - len(names)]


def normalized(raw: Iterable[bytes]) -> Iterator[bytes]:
    """Drop a leading byte order mark and turn CRLF into LF; chunk sizes change."""
    held = b""
    at_start = True
    for chunk in raw:
        chunk = held + chunk
        if at_start:
            if len(chunk) < len(_BYTE_ORDER_MARK):
                held = chunk
                continue
            chunk, at_start = chunk.removeprefix(_BYTE_ORDER_MARK), False
        held = chunk[-1:] if chunk.endswith(b"\r") else b""  # its LF may be in the next chunk
        yield chunk[: len(chunk) - len(held)].replace(b"\r\n", b"\n")
    yield held


def blocks_of(chunks: Iterable[bytes], size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The same bytes in blocks of `size`; the last may be shorter."""
    rest = b""
    for chunk in chunks:
        view = memoryview(chunk)
        if rest:
            missing = size - len(rest)
            rest, view = rest + view[:missing], view[missing:]
            if len(rest) < size:
                continue
            yield rest
        whole = len(view) // size * size
        for start in range(0, whole, size):
            yield bytes(view[start : start + size])
        rest = bytes(view[whole:])
    if rest:
        yield rest


def row_document(value: object, origin: str, column: str, skipped: Skipped) -> Iterator[Document]:
    """The document in one row's column, or none when it was counted in `skipped`.

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
        yield Document((value.encode("utf-8", "surrogatepass"),), origin)


class MissingColumn(UserError):
    """Data without the column that holds the text."""


def missing_column(origin: str, column: str, names: Sequence[str]) -> MissingColumn:
    """The error for data without the text column; it lists the columns there are."""
    listed = ", ".join(names) if names else "none"
    return MissingColumn(
        f"data: {origin}: no column {column!r}; it has {listed}: name one with --text-column"
    )


@dataclass(frozen=True)
class SourceShard:
    """A range of a source that can be read by itself.

    Attributes:
        name: a file's path, or the source's own name for it.
        start, stop: the range, in bytes of JSON Lines, row groups, record batches, hub shards or
            stories.
        number: of the first line or row, from 1, for messages.
        size: approximate bytes of text, for progress and the size of units; 0 when unknown.
    """

    name: str
    start: int
    stop: int
    number: int
    size: int


Unit = tuple[SourceShard, ...]


def group_shards(shards: Iterable[SourceShard]) -> list[Unit]:
    """Group neighboring shards into units of UNIT_BYTES."""
    units: list[Unit] = []
    held: list[SourceShard] = []
    for shard in shards:
        held.append(shard)
        if sum_of_sizes(held) >= UNIT_BYTES or len(held) >= _MAX_SHARDS:
            units.append(tuple(held))
            held = []
    return [*units, tuple(held)] if held else units


def sum_of_sizes(unit: Iterable[SourceShard]) -> int:
    """Approximate bytes of text in a unit."""
    return sum(shard.size for shard in unit)


def unit_to_json(unit: Unit) -> list[dict[str, Any]]:
    """The unit in JSON's types."""
    return [asdict(shard) for shard in unit]


def unit_from_json(value: list[dict[str, Any]]) -> Unit:
    """The reverse of `unit_to_json`."""
    return tuple(SourceShard(**shard) for shard in value)
