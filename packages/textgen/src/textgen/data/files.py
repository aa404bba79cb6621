"""Owns the files that `--data PATH` names: which they are, and the documents in their pieces."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hvdcore.errors import UserError
from textgen.data import rows
from textgen.data.documents import Document, Piece, Skipped, Unit, group_pieces

__all__ = ["FileSource", "find_files"]

TEXT_SUFFIXES = (".txt", ".text", ".md")
JSON_SUFFIXES = (".jsonl", ".ndjson")
TABLE_SUFFIXES = (".parquet", ".arrow")


@dataclass(frozen=True)
class FileSource:
    """The files that one `--data PATH` names.

    Attributes:
        root: the path given.
        files: what was found, sorted by path.
    """

    root: Path
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        return str(self.root)

    def signature(self) -> str:
        """Names, sizes and times of the files: the same while nobody touched them."""
        lines = [str(self.root.resolve())]
        for path in self.files:
            status = path.stat()
            lines.append(f"{path}\t{status.st_size}\t{status.st_mtime_ns}")
        return "\n".join(lines)

    def units(self, text_column: str) -> list[Unit]:
        """What is read by itself: files, or where the form allows it parts of one.

        Raises:
            UserError: a file cannot be read, or the column is missing.
        """
        return group_pieces(piece for path in self.files for piece in _pieces(path, text_column))

    def documents(self, unit: Unit, text_column: str, skipped: Skipped) -> Iterator[Document]:
        """Every document of the unit; rows without text are counted in `skipped`.

        Raises:
            UserError: a file cannot be read, a row is broken, or the column is missing.
        """
        for piece in unit:
            yield from _documents(piece, text_column, skipped)


def _pieces(path: Path, column: str) -> Iterator[Piece]:
    with _mendable(path):
        kind = _kind(path)
        if kind == "table":
            yield from rows.table_pieces(path, column)
        elif kind == "json" and not rows.is_gzip(path):
            yield from rows.line_pieces(path)
        else:
            size = path.stat().st_size
            yield Piece(str(path), 0, size, 1, size)


def _documents(piece: Piece, column: str, skipped: Skipped) -> Iterator[Document]:
    path = Path(piece.name)
    kind = _kind(path)
    if kind == "table":
        found = rows.table_documents(piece, column, skipped)
    elif kind == "json":
        found = rows.json_documents(piece, column, skipped)
    else:
        found = iter([Document(_raw(path), str(path))])
    with _mendable(path):
        yield from found


def _raw(path: Path) -> Iterator[bytes]:
    """Read while the document is used, so its errors are told here."""
    with _mendable(path):
        yield from rows.blocks(path)


@contextmanager
def _mendable(path: Path) -> Iterator[None]:
    """Turns what is wrong with a file into a line for the user that names it and the fix."""
    try:
        yield
    except PermissionError as error:
        raise UserError(f"data: {path}: no permission to read it") from error
    except FileNotFoundError as error:
        raise UserError(f"data: {path}: it has gone; start again") from error
    except gzip.BadGzipFile as error:
        raise UserError(f"data: {path}: not a gzip file; rename or repack it") from error
    except (EOFError, rows.BrokenGzip) as error:
        raise UserError(f"data: {path}: cut off or damaged; fetch it again") from error


def find_files(root: Path) -> FileSource:
    """The data files under a path that exists: the path itself, or a folder's, recursively.

    Hidden files and folders are left out.

    Raises:
        UserError: an unreadable folder, or one without data files.
    """
    if not root.is_dir():
        if not root.is_file():
            raise UserError(f"data: {root} is neither a file nor a folder; give one of these")
        return FileSource(root, (root,))
    found: list[Path] = []
    others: Counter[str] = Counter()
    for folder, names, files in os.walk(root, onerror=_unreadable):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for file in sorted(files):
            path = Path(folder, file)
            if file.startswith(".") or not path.is_file():
                continue
            if _kind(path):
                found.append(path)
            else:
                others[path.suffix or file] += 1
    if not found:
        raise UserError(f"data: {root} holds no {_wanted()} file{_what_else(others)}")
    return FileSource(root, tuple(sorted(found)))


def _unreadable(error: OSError) -> None:
    raise UserError(f"data: {error.filename}: folder cannot be read ({error.strerror})") from error


def _wanted() -> str:
    return ", ".join((*TEXT_SUFFIXES, *JSON_SUFFIXES, *TABLE_SUFFIXES)) + " (or .gz of text, lines)"


def _what_else(others: Counter[str]) -> str:
    if not others:
        return "; it is empty"
    listed = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(3))
    return f"; it holds {listed}"


def _kind(path: Path) -> str:
    suffix = Path(path.stem).suffix if rows.is_gzip(path) else path.suffix
    kinds = {"text": TEXT_SUFFIXES, "json": JSON_SUFFIXES, "table": TABLE_SUFFIXES}
    return next((kind for kind, known in kinds.items() if suffix.lower() in known), "")
