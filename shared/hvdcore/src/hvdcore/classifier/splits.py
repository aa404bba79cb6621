"""Train, val and test: which sample belongs to which split, and subsets of a split.

A sample's split depends on its content and class, never on file names or order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from hvdcore.errors import UserError
from hvdcore.run.splits import SPLITS

if TYPE_CHECKING:  # the launcher's checks must not load NumPy
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "Row",
    "Split",
    "SplitResult",
    "split_rows",
    "stratified_subset",
    "subsample",
]

S = TypeVar("S", bound="Split")


class Split(Protocol):
    """The samples of train, val or test, each with its class."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each sample, int64 [n]."""

    def __len__(self) -> int: ...

    def take(self: S, indices: npt.NDArray[np.int64]) -> S:
        """The samples at these indices, in that order."""
        ...


@dataclass(frozen=True)
class Row:
    """A sample as it was read.

    Attributes:
        number: its index among all that was read.
        split: the split that the data assigns it to; None if the data has no splits.
        sha256: of its content.
    """

    number: int
    label: int
    split: str | None
    sha256: str


@dataclass(frozen=True)
class SplitResult:
    """The rows of each split, sorted by hash, and how many were left out for which reason.

    Attributes:
        left_out: `duplicates` are further copies within a split; `two_classes` are samples with
            more than one label, all of their copies; `val_in_train` and `test_in_train` are
            samples of val and test that an earlier split contains too.
    """

    splits: dict[str, list[Row]]
    left_out: dict[str, int]

    def untrained(self, classes: Sequence[str]) -> list[str]:
        """The classes of which no sample is in train: all were copies, or had another label too."""
        present = {row.label for row in self.splits["train"]}
        return [name for label, name in enumerate(classes) if label not in present]

    def rows(self) -> list[Row]:
        """All rows that were kept: train, val, test."""
        return [row for name in SPLITS for row in self.splits[name]]

    def sizes(self) -> dict[str, int]:
        """Rows per split."""
        return {name: len(self.splits[name]) for name in SPLITS}

    def class_counts(self, classes: Sequence[str]) -> dict[str, dict[str, int]]:
        """Rows per split and class name."""
        counts = {name: Counter(row.label for row in self.splits[name]) for name in SPLITS}
        return {
            name: {of: counts[name][label] for label, of in enumerate(classes)} for name in SPLITS
        }


def split_rows(rows: Sequence[Row], *, val_fraction: float, test_fraction: float) -> SplitResult:
    """Assign the samples to splits, stratified by class.

    Splits that the data brings are kept; val is then taken from train, unless the data has it too.
    Otherwise both test and val are taken from all samples. Every class keeps a sample in train.

    Args:
        val_fraction, test_fraction: of each class of what they are taken from.
    """
    kept, left_out = _without_copies(rows)
    splits = {name: [row for row in kept if (row.split or "train") == name] for name in SPLITS}
    has_splits = any(row.split for row in rows)
    candidates = splits["train"]
    if not has_splits:
        splits["test"] = _stratified_range(candidates, 0.0, test_fraction)
    if not splits["val"]:
        first = 0.0 if has_splits else test_fraction
        splits["val"] = _stratified_range(candidates, first, first + val_fraction)
    taken = {row.sha256 for name in ("val", "test") for row in splits[name]}
    splits["train"] = [row for row in candidates if row.sha256 not in taken]
    return SplitResult(splits, left_out)


def _without_copies(rows: Sequence[Row]) -> tuple[list[Row], dict[str, int]]:
    """Each content once, in the first of train, val, test that has it; sorted by hash."""
    by_content: Mapping[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_content[row.sha256].append(row)
    kept: list[Row] = []
    left_out = Counter(duplicates=0, two_classes=0, val_in_train=0, test_in_train=0)
    for sha256 in sorted(by_content):
        copies = sorted(by_content[sha256], key=lambda row: SPLITS.index(row.split or "train"))
        if len({row.label for row in copies}) > 1:
            left_out["two_classes"] += len(copies)
            continue
        first, *others = copies
        kept.append(first)
        for row in others:
            same = row.split == first.split
            left_out["duplicates" if same else f"{row.split}_in_train"] += 1
    return kept, dict(left_out)


def _stratified_range(rows: Sequence[Row], start: float, stop: float) -> list[Row]:
    """That range of each class, sorted by hash; the last sample of a class is never included."""
    by_class: Mapping[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_class[row.label].append(row)
    found: list[Row] = []
    for label in sorted(by_class):
        members = by_class[label]
        first, last = (min(round(len(members) * f), len(members) - 1) for f in (start, stop))
        found += members[first:last]
    return sorted(found, key=lambda row: row.sha256)


def subsample(n: int, count: int) -> npt.NDArray[np.int64]:
    """`count` evenly spaced indices of 0..n-1, or all of them if there are fewer; ascending."""
    import numpy as np

    count = min(count, n)
    return np.arange(count, dtype=np.int64) * n // max(count, 1)


def stratified_subset(
    labels: npt.NDArray[np.int64], count: int, *, field: str, samples: str
) -> npt.NDArray[np.int64]:
    """The indices of `count` samples, as evenly over the classes as possible; ascending.

    A larger count contains what a smaller one contains.

    Args:
        labels: int64 [n].
        field: the option that asked for it, for the error message.
        samples: what they are called, in the plural.

    Raises:
        UserError: there are fewer samples, or more classes than `count`.
    """
    import numpy as np

    if count < (num_classes := len(np.unique(labels))):
        raise UserError(
            f"{field}: {count} {samples} for {num_classes} classes; give {num_classes} or more, so "
            "that each has one"
        )
    if count > len(labels):
        raise UserError(
            f"{field}: {count} of only {len(labels)} {samples}; give {len(labels)} or less"
        )
    # By their position within the class, so that classes take turns.
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = np.arange(len(members))
    return np.sort(np.argsort(turn, kind="stable")[:count])
