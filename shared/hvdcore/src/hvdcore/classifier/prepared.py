"""Prepared data in the cache: what is in it, and how it is built once and found again.

Safe if two processes prepare at once (one builds, the other waits) and after one was killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from hvdcore.classifier.config import ClassifierConfig, SampleNames
from hvdcore.classifier.splits import Split, stratified_subset
from hvdcore.errors import UserError, printable_name
from hvdcore.files.atomic import writing
from hvdcore.files.cache import CacheLock
from hvdcore.files.checksums import CHECKSUMS, checksums, damaged_file, require_sizes
from hvdcore.files.json_files import read_json_object, write_json_atomically
from hvdcore.run.splits import SPLITS
from hvdcore.runtime.environment import PREPARED_DATA

__all__ = [
    "META",
    "PreparedData",
    "ProgressCallback",
    "Tally",
    "find_or_build",
    "hand_over",
    "handed_over",
    "is_complete",
    "note_class_names",
    "prepare_summary",
    "read_meta",
    "request_digest",
    "split_slices",
    "write_meta",
]

META = "meta.json"
ProgressCallback = Callable[[int, int], None]
"""Called as progress(done, total) in samples; a total of 0 is not known yet, and (0, 0) means that
another process is preparing the same data."""
LEFT_OUT = {
    "duplicates": "duplicates",
    "two_classes": "with more than one label",
    "val_in_train": "of val that train contains too",
    "test_in_train": "of test that train contains too",
}
EXAMPLES = 5
_SHOWN_CLASSES = 5
"""Files or rows named for each reason."""

S = TypeVar("S", bound=Split)


@dataclass(frozen=True)
class PreparedData(Generic[S]):
    """Samples in splits, and what was found while they were prepared.

    Attributes:
        path: the folder in the cache.
        classes: names, in the order of the labels.
        splits: `train`, `val` and `test`; val and test may be empty.
        meta: the content of meta.json.
    """

    path: Path
    classes: tuple[str, ...]
    splits: dict[str, S]
    meta: dict[str, Any]

    @property
    def key(self) -> str:
        """Identifies the content: equal for the same samples, whatever files they come from.

        It is the folder's name up to a hyphen; what may follow depends on the files.
        """
        return self.path.name.partition("-")[0]

    def train_subset(self, count: int | None, names: SampleNames) -> S:
        """`count` train samples, evenly over the classes; all of them for None.

        Raises:
            UserError: there are fewer.
        """
        split = self.splits["train"]
        if count is None or count == len(split):
            return split
        return split.take(
            stratified_subset(split.labels, count, field=names.count_field, samples=names.samples)
        )

    def report_values(self) -> dict[str, Any]:
        """What ``report.json`` records about the data."""
        return {
            "key": self.key,
            "parts": self.meta["parts"],
            "left_out": self.meta["left_out"],
            "skipped": {why: entry["count"] for why, entry in self.meta["skipped"].items()},
        }


class Tally:
    """How often something was found, by reason, and where it was found first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, reason: str, where: str) -> None:
        """Count one more."""
        self.counts[reason] += 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            kept.append(where)

    @property
    def total(self) -> int:
        """Over all reasons."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, dict[str, object]]:
        """For meta.json."""
        return {
            reason: {"count": count, "examples": self.examples[reason]}
            for reason, count in self.counts.items()
        }


def request_digest(parameters: Sequence[object], content: object) -> str:
    """SHA-256 over the parameters of the preparation and a description of the data, as JSON."""
    return hashlib.sha256(json.dumps([list(parameters), content]).encode()).hexdigest()


def find_or_build(
    cache: Path,
    kind: str,
    request: str,
    *,
    is_complete: Callable[[Path], bool],
    build: Callable[[Path], Path],
    progress: ProgressCallback,
) -> Path:
    """The folder of prepared data for a request.

    Args:
        cache: the package's cache.
        kind: the folder of the cache that `build` writes to, named after the samples.
        request: identifies the source and the parameters; a hex digest.
        is_complete: whether a folder holds complete prepared data.
        build: prepares the data in the work folder that it is given, moves the result into
            `cache/kind` and returns its path.

    Raises:
        UserError: the cache's disk is full or cannot be written, or `build` found the data wrong.
    """
    note = cache / "requests" / f"{request[:32]}.json"

    def known() -> Path | None:
        try:
            path = cache / kind / str(json.loads(note.read_text(encoding="utf-8"))[kind])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return path if is_complete(path) else None

    with writing(cache, "point XDG_CACHE_HOME to another place"):
        path = known()
        if path is None:
            with CacheLock(cache, note.stem, lambda: progress(0, 0)) as work:
                path = known()  # another process may have built it meanwhile
                if path is None:
                    path = build(work)
                    note.parent.mkdir(exist_ok=True)
                    write_json_atomically(note, {kind: path.name})
    return path


def hand_over(config: ClassifierConfig, path: Path) -> None:
    """Let the processes that this one starts open the data in `path` without preparing it again."""
    os.environ[PREPARED_DATA] = json.dumps({"request": _request(config), "path": str(path)})


def handed_over(config: ClassifierConfig) -> Path | None:
    """The data that a parent process prepared for the same request.

    None if there was none, or if its folder is not on this host.
    """
    try:
        given = json.loads(os.environ[PREPARED_DATA])
        path = Path(given["path"]) if given["request"] == _request(config) else None
    except (ValueError, KeyError, TypeError):
        return None
    return path if path is not None and is_complete(path) else None


def _request(config: ClassifierConfig) -> str:
    # Relative paths mean the same only in the same working directory.
    return request_digest([str(Path.cwd())], config.data_values())


def is_complete(path: Path) -> bool:
    """Whether the folder holds complete prepared data: meta.json is written last, and says how long
    the other files are."""
    try:
        return damaged_file(path, read_json_object(path / META)) is None
    except UserError:
        return False


def write_meta(path: Path, meta: Mapping[str, Any]) -> None:
    """Write meta.json, with size and digest of every file that is in the folder. Call it last."""
    write_json_atomically(path / META, {**meta, CHECKSUMS: checksums(path, META)})


def read_meta(path: Path, schema: int) -> dict[str, Any]:
    """The content of meta.json.

    Raises:
        UserError: there is none, another version of the package wrote it, or a file is missing or
            shorter or longer than it was written.
    """
    meta = read_json_object(path / META)
    if meta.get("schema") != schema:
        raise UserError(f"{path}: prepared by another version; delete it and prepare again")
    require_sizes(path, meta)
    return meta


def split_slices(meta: Mapping[str, Any]) -> dict[str, slice]:
    """Where each split lies in the arrays, which hold train, val and test one after another."""
    found, start = {}, 0
    for name in SPLITS:
        stop = start + int(meta["parts"][name])
        found[name] = slice(start, stop)
        start = stop
    return found


_NO_LABEL = frozenset({"-1", "-100", "nan", "<na>", "n/a", "na", "nil", "none", "null", "?", "-"})
"""What programs write where there is no label."""


def note_class_names(classes: Sequence[str], notes: Tally) -> None:
    """Note classes that differ in case alone, or look the same: they are often one. And those that
    are called as what programs write for a missing label."""
    for name in classes:
        if name.casefold() in _NO_LABEL:
            notes.add("classes named as a missing label", name)
    for names in _groups(classes, str.casefold):
        shown = ", ".join(map(printable_name, names))
        notes.add(f"classes that differ in case alone: {shown}", names[0])
    for names in _groups(classes, _looks):
        if len({name.casefold() for name in names}) > 1:
            shown = ", ".join(map(ascii, names))
            notes.add(f"classes that look the same: {shown}", names[0])


def _groups(names: Sequence[str], key: Callable[[str], str]) -> list[list[str]]:
    by_key: dict[str, list[str]] = {}
    for name in names:
        by_key.setdefault(key(name), []).append(name)
    return [group for group in by_key.values() if len(group) > 1]


def _looks(name: str) -> str:
    """Without accents' two spellings, kinds of blanks, and characters that are not seen."""
    seen = (c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return " ".join("".join(seen).casefold().split())


def prepare_summary(samples: str, meta: Mapping[str, Any], classes: str) -> str:
    """One line: the samples of each split, and what was left out.

    Args:
        samples: what they are called, such as "images".
        meta: with `parts`, and `skipped`, `left_out` and `notes` by reason.
        classes: how many there are, in words.
    """
    splits = ", ".join(f"{name} {count:,}" for name, count in meta["parts"].items())
    skipped = [f"{entry['count']:,} {reason}" for reason, entry in meta["skipped"].items()]
    left_out = [f"{n:,} {LEFT_OUT[name]}" for name, n in meta["left_out"].items() if n]
    notes = [f"{entry['count']:,} {note}" for note, entry in meta["notes"].items()]
    line = f"{samples}: {splits} in {classes}"
    if skipped or left_out:
        line += f"; left out: {', '.join([*skipped, *left_out])}"
    line += "".join(_unscored(samples, meta))
    return line + (f"; notes: {', '.join(notes)}" if notes else "")


def _unscored(samples: str, meta: Mapping[str, Any]) -> Iterator[str]:
    """The classes that val or test, where there is one, has no sample of."""
    for split in ("val", "test"):
        counts = meta.get("classes_of_parts", {}).get(split, {})
        names = [name for name, count in counts.items() if not count]
        if names and meta["parts"][split]:
            more = f" and {len(names) - _SHOWN_CLASSES} more" * (len(names) > _SHOWN_CLASSES)
            shown = ", ".join(map(printable_name, names[:_SHOWN_CLASSES]))
            yield f"; no {split} {samples} of {shown}{more}"
