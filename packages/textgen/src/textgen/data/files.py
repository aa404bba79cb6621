"""The files that `--data PATH` names: finding them, and the documents in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.files.walk import walk_files, warn_of_left_out
from textgen.data import rows
from textgen.data.documents import (
    Document,
    MissingColumn,
    Skipped,
    SourceShard,
    Unit,
    group_shards,
)
from textgen.data.packed import is_packed, packed_errors, unpacked_suffix
from textgen.data.records import csv_documents, has_json_lines, value_documents

__all__ = ["FileSource", "find_files"]

TEXT_SUFFIXES = (".txt", ".text", ".md")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
CSV_SUFFIXES = (".csv", ".tsv")
TABLE_SUFFIXES = (".parquet", ".arrow")

_KINDS = {
    "text": TEXT_SUFFIXES, "json": JSON_SUFFIXES, "csv": CSV_SUFFIXES, "table": TABLE_SUFFIXES,
}  # fmt: skip
# Forms that were read as raw text, or not at all, before they were known.
_READ_LATER = (".json", *CSV_SUFFIXES)
_ABOUT_THE_DATA = ("readme", "license", "licence", "changelog")
_MOST_SUFFIXES = 8


@dataclass(frozen=True)
class FileSource:
    """The files that one `--data PATH` names.

    Attributes:
        root: the path given.
        files: what was found, sorted by path.
        passed_over: other files of the folder, by what they are.
    """

    root: Path
    files: tuple[Path, ...]
    passed_over: Skipped = field(default_factory=Skipped, compare=False)

    @property
    def name(self) -> str:
        return str(self.root)

    def signature(self) -> str:
        """Names, sizes and modification times of the files."""
        lines = [str(self.root.resolve())]
        for path in self.files:
            status = path.stat()
            form = "\tread as records" if unpacked_suffix(path) in _READ_LATER else ""
            lines.append(f"{path}\t{status.st_size}\t{status.st_mtime_ns}{form}")
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
            found = _documents(shard, text_column, skipped)
            yield from found if len(self.files) == 1 else _unless_other(shard, found, skipped)


def _shards(path: Path, column: str) -> Iterator[SourceShard]:
    with packed_errors(path):
        kind = _kind(path)
        if kind == "table":
            yield from rows.table_shards(path, column)
        elif kind == "json" and not is_packed(path) and has_json_lines(path):
            yield from rows.line_shards(path)
        else:
            size = path.stat().st_size
            yield SourceShard(str(path), 0, size, 1, size)


def _documents(shard: SourceShard, column: str, skipped: Skipped) -> Iterator[Document]:
    path = Path(shard.name)
    kind = _kind(path)
    if kind == "table":
        found = rows.table_documents(shard, column, skipped)
    elif kind == "csv":
        found = csv_documents(path, column, skipped)
    elif kind == "json":
        found = _json_documents(shard, column, skipped)
    else:
        found = iter([Document(_raw(path), str(path))])
    with packed_errors(path):
        yield from found


def _json_documents(shard: SourceShard, column: str, skipped: Skipped) -> Iterator[Document]:
    path = Path(shard.name)
    if shard.start or has_json_lines(path):
        yield from rows.json_documents(shard, column, skipped)
    else:
        yield from value_documents(path, column, skipped)


def _unless_other(
    shard: SourceShard, found: Iterator[Document], skipped: Skipped
) -> Iterator[Document]:
    """The documents; none of a table beside the texts (metadata.csv) that lacks the column."""
    path = Path(shard.name)
    try:
        yield from found
    except MissingColumn:
        if unpacked_suffix(path) not in _READ_LATER:
            raise
        skipped.add(f"{unpacked_suffix(path)} without the text column", str(path))


def _raw(path: Path) -> Iterator[bytes]:
    """Read while the document is consumed, so errors have to be translated here."""
    with packed_errors(path):
        yield from rows.blocks(path)


def find_files(root: Path) -> FileSource:
    """The data files of a path that exists: the file itself, or those of a folder, recursively.

    Hidden files and folders are skipped; what is not read is counted, and so are a README and a
    licence.

    Raises:
        UserError: an unreadable folder, or one without data files.
    """
    if not root.is_dir():
        if not root.is_file():
            raise UserError(f"data: {root} is neither a file nor a folder; give one of them")
        return FileSource(root, (root,))
    found: list[Path] = []
    others: dict[str, list[Path]] = {}
    walk = walk_files(root)
    warn_of_left_out(root, [walk])
    for path in walk.files:
        if not path.is_file():
            continue
        if _kind(path) and path.name.partition(".")[0].lower() not in _ABOUT_THE_DATA:
            found.append(path)
        else:
            others.setdefault(path.name if _kind(path) else path.suffix or path.name, []).append(
                path
            )
    if not found:
        counts = Counter({name: len(paths) for name, paths in others.items()})
        raise UserError(f"data: {root} holds no {_wanted()} file{_what_else(counts)}")
    return FileSource(root, tuple(sorted(found)), _passed_over(others))


def _passed_over(others: dict[str, list[Path]]) -> Skipped:
    skipped = Skipped()
    most = sorted(others, key=lambda name: -len(others[name]))
    for number, name in enumerate(most):
        what = name if number < _MOST_SUFFIXES else "other"
        for path in others[name]:
            skipped.add(f"{what} (not a form that is read)", str(path))
    return skipped


def _wanted() -> str:
    known = (*TEXT_SUFFIXES, *JSON_SUFFIXES, *CSV_SUFFIXES, *TABLE_SUFFIXES)
    return ", ".join(known) + " (or .gz, .zst, .bz2, .xz of all but the last two)"


def _what_else(others: Counter[str]) -> str:
    if not others:
        return "; it is empty"
    listed = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(3))
    return f"; it holds {listed}"


def _kind(path: Path) -> str:
    suffix = unpacked_suffix(path)
    kind = next((kind for kind, known in _KINDS.items() if suffix in known), "")
    return "" if kind == "table" and is_packed(path) else kind
