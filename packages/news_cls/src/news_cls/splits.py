"""Which text belongs to train, val or test: by content and class, never by name or order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PARTS", "Row", "Selection", "select"]

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Row:
    """A text: its place in the spool, label, given part, and hash of its normalised content."""

    number: int
    label: int
    part: str | None
    sha256: str


@dataclass(frozen=True)
class Selection:
    """The rows of each part, in order of the hashes; and how many were left out, and why.

    Attributes:
        left_out: `duplicates` are further copies within a part; `two_classes` are texts that
            stand under two classes, all of them; `val_in_train` and `test_in_train` are texts
            of val and test that stand in an earlier part too.
    """

    parts: dict[str, list[Row]]
    left_out: dict[str, int]


def select(rows: Sequence[Row], *, val_fraction: float, test_fraction: float) -> Selection:
    """Cut the texts into parts, stratified: each class gives the same share.

    Where the data brings parts of its own they stay; val is then cut from train, unless it came
    along. Otherwise test and val are both cut from all. A class keeps a text in train.

    Args:
        val_fraction, test_fraction: shares of what they are cut from.
    """
    kept, left_out = _without_copies(rows)
    parts = {name: [row for row in kept if (row.part or "train") == name] for name in PARTS}
    has_parts = any(row.part for row in rows)
    everything = parts["train"]
    if not has_parts:
        parts["test"] = _share(everything, 0.0, test_fraction)
    if not parts["val"]:
        first = 0.0 if has_parts else test_fraction
        parts["val"] = _share(everything, first, first + val_fraction)
    taken = {row.sha256 for name in ("val", "test") for row in parts[name]}
    parts["train"] = [row for row in everything if row.sha256 not in taken]
    return Selection(parts, left_out)


def _without_copies(rows: Sequence[Row]) -> tuple[list[Row], dict[str, int]]:
    """Each content once, in the first of train, val, test that has it; sorted by content."""
    by_content: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_content[row.sha256].append(row)
    kept: list[Row] = []
    left_out = Counter(duplicates=0, two_classes=0, val_in_train=0, test_in_train=0)
    for sha256 in sorted(by_content):
        copies = sorted(by_content[sha256], key=lambda row: PARTS.index(row.part or "train"))
        if len({row.label for row in copies}) > 1:
            left_out["two_classes"] += len(copies)
            continue
        first, *others = copies
        kept.append(first)
        for row in others:
            same = row.part == first.part
            left_out["duplicates" if same else f"{row.part}_in_train"] += 1
    return kept, dict(left_out)


def _share(rows: Sequence[Row], start: float, stop: float) -> list[Row]:
    """That stretch of each class, in order of content; the last text of a class stays out."""
    by_class: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_class[row.label].append(row)
    found: list[Row] = []
    for label in sorted(by_class):
        members = by_class[label]
        first, last = (min(round(len(members) * f), len(members) - 1) for f in (start, stop))
        found += members[first:last]
    return sorted(found, key=lambda row: row.sha256)
