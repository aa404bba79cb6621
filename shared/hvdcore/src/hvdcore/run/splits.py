"""The splits that a model is scored on, and the check of their names."""

from __future__ import annotations

from collections.abc import Iterable

from hvdcore.errors import Problems

__all__ = ["SPLITS", "check_split_names"]

SPLITS = ("train", "val", "test")
"""In the order in which they are reported."""


def check_split_names(splits: Iterable[str]) -> None:
    """Check that each is the name of a split.

    Raises:
        UserError: one is not.
    """
    problems = Problems()
    for split in splits:
        if split not in SPLITS:
            problems.add("split", f"got {split!r}; give one of {', '.join(SPLITS)}")
    problems.raise_if_any()
