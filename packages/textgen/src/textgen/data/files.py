"""The files that `--data PATH` names: finding them, and the documents in them."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.files.walk import walk_files, warn_of_left_out
from textgen.data import rows
from textgen.data.documents import Document, Skipped, SourceShard, Unit, group_shards

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
        """Names, sizes and modification times of the files."""
        lines = [str(self.root.resolve())]
        for path in self.files:
            status = path.stat()
            lines.append(f"{path}\t{status.st_size}\t{status.st_mtime_ns}")
        return "\n".join(lines)

    def units(self, text_column: str) -> list[Unit]:
        """Files, or ranges of one where the format allows it, grouped.

        Raises:
            UserError: a file cannot be read, or the column is missing.
        """
        return group_shards(shard for path in self.files for shard in _shards(path, text_column))

    def documents(self, unit: Unit, text_column: str, skipped: Skipped) -> Iterator[Document]:
        """The documents of a unit; rows without text are counted in `skipped`.

        Raises:
            UserError: a file cannot be read, a row is broken, or the column is missing.
        """
        for shard in unit:
            yield from _documents(shard, text_column, skipped)


def _shards(path: Path, column: str) -> Iterator[SourceShard]:
    with _user_errors(path):
        kind = _kind(path)
        if kind == "table":
            yield from rows.table_shards(path, column)
        elif kind == "json" and not rows.is_gzip(path):
            yield from rows.line_shards(path)
        else:
            size = path.stat().st_size
            yield SourceShard(str(path), 0, size, 1, size)


def _documents(shard: SourceShard, column: str, skipped: Skipped) -> Iterator[Document]:
    path = Path(shard.name)
    kind = _kind(path)
    if kind == "table":
        found = rows.table_documents(shard, column, skipped)
    elif kind == "json":
        found = rows.json_documents(shard, column, skipped)
    else:
        found = iter([Document(_raw(path), str(path))])
    with _user_errors(path):
        yield from found


def _raw(path: Path) -> Iterator[bytes]:
    """Read while the document is consumed, so errors have to be translated here."""
    with _user_errors(path):
        yield from rows.blocks(path)


@contextmanager
def _user_errors(path: Path) -> Iterator[None]:
    """Turn errors of reading a file into a UserError that names it and the fix."""
    try:
        yield
    except PermissionError as error:
        raise UserError(f"data: {path}: no permission to read it") from error
    except FileNotFoundError as error:
        raise UserError(f"data: {path}: it disappeared meanwhile; start again") from error
    except gzip.BadGzipFile as error:
        raise UserError(f"data: {path}: not a gzip file; rename it or compress it again") from error
    except (EOFError, rows.BrokenGzip) as error:
        raise UserError(f"data: {path}: truncated or damaged; copy it again") from error


def find_files(root: Path) -> FileSource:
    """The data files of a path that exists: the file itself, or those of a folder, recursively.

    Hidden files and folders are skipped.

    Raises:
        UserError: an unreadable folder, or one without data files.
    """
    if not root.is_dir():
        if not root.is_file():
            raise UserError(f"data: {root} is neither a file nor a folder; give one of them")
        return FileSource(root, (root,))
    found: list[Path] = []
    others: Counter[str] = Counter()
    walk = walk_files(root)
    warn_of_left_out(root, [walk])
    for path in walk.files:
        if not path.is_file():
            continue
        if _kind(path):
            found.append(path)
        else:
            others[path.suffix or path.name] += 1
    if not found:
        raise UserError(f"data: {root} holds no {_wanted()} file{_what_else(others)}")
    return FileSource(root, tuple(sorted(found)))


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
