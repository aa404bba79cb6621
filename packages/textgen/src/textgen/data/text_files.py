"""Owns reading text files as bytes, gzip too: in blocks, or line by line from the middle."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from textgen.data import units
from textgen.data.documents import BLOCK_BYTES
from textgen.data.units import Piece

__all__ = ["BrokenGzip", "blocks", "is_gzip", "line_pieces", "lines"]

BrokenGzip = zlib.error

_SCAN_BYTES = 1 << 22


def is_gzip(path: Path) -> bool:
    """Whether its name says that it is packed."""
    return path.suffix.lower() == ".gz"


def blocks(path: Path) -> Iterator[bytes]:
    """The file's bytes, unpacked, in blocks."""
    with _open(path) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def lines(piece: Piece) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line of a piece; a packed file is one piece."""
    path = Path(piece.name)
    left = piece.stop - piece.start
    with _open(path) as file:
        file.seek(piece.start)
        for number, line in enumerate(file, start=piece.number):
            yield number, line
            left -= len(line)
            if left <= 0 and not is_gzip(path):
                return


def line_pieces(path: Path) -> Iterator[Piece]:
    """Pieces of whole lines, a unit's bytes or a little more each, but the last.

    Counting lines beforehand reads the file once more, at the speed of the disk; each piece knows
    the numbers of its lines by it.
    """
    start = place = 0
    number = first = 1
    with path.open("rb") as file:
        while block := file.read(_SCAN_BYTES):
            counted = 0
            while (end := _line_end(block, start + units.UNIT_BYTES - place, counted)) > 0:
                number += block.count(b"\n", counted, end)
                counted = end
                yield Piece(str(path), start, place + end, first, place + end - start)
                start, first = place + end, number
            number += block.count(b"\n", counted)
            place += len(block)
    if place > start or not start:
        yield Piece(str(path), start, place, first, place - start)


def _line_end(block: bytes, wanted: int, least: int) -> int:
    """Where the first line ends that reaches `wanted` bytes into the block; 0 when it does not."""
    if wanted > len(block):
        return 0
    return block.find(b"\n", max(wanted - 1, least, 0)) + 1


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")
