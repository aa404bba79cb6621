"""How labels become the names of classes: by their number in a list, or each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["AG_NEWS", "Label", "Scheme", "SeenLabel", "find_scheme"]

AG_NEWS = ("World", "Sports", "Business", "Sci/Tech")
"""The classes of AG News in the order of their numbers."""


class Label(NamedTuple):
    """A label as it stands in a file.

    Attributes:
        value: a number or a text.
        first_label: see `Layout.first_label`.
    """

    value: int | str
    first_label: int | None


class SeenLabel(NamedTuple):
    """A label that was met, and whether in train or in data that is still to be cut."""

    label: Label
    in_train: bool


@dataclass(frozen=True)
class Scheme:
    """What labels mean.

    Attributes:
        names: in order of the numbers; where each label is a class, those that come first.
        origin: where the names come from, for people.
        first_label: number of the first name, where the form of the file does not say it.
    """

    names: tuple[str, ...]
    origin: str
    first_label: int
    by_itself: bool

    def name_of(self, label: Label) -> str | None:
        """The name of a label's class; None where it means none."""
        if self.by_itself:
            return str(label.value)
        if isinstance(label.value, str):
            return label.value if label.value in self.names else None
        number = label.value - self._first(label)
        return self.names[number] if 0 <= number < len(self.names) else None

    def problem(self, label: Label) -> str:
        """What to say of a label that means no class."""
        first = self._first(label)
        last = first + len(self.names) - 1
        return (
            f"label {str(label.value)[:40]!r} is neither one of {first}..{last} nor one of the "
            f"names ({self.origin}); mend it, put a classes.txt with a name a line beside the "
            "data, or give --label-column and --text-column to make each label a class"
        )

    def _first(self, label: Label) -> int:
        return self.first_label if label.first_label is None else label.first_label


def find_scheme(seen: Sequence[SeenLabel], given: Sequence[str], origin: str) -> Scheme:
    """What the labels that were met mean, taken together.

    Numbers count in the list that is given, or in AG News's names where the form is AG News's;
    0 and 1 alone under `text` and `label` are no World and Sports.

    Args:
        given: names that the data brings, from `origin`; empty where there are none.
    """
    values = {one.label.value for one in seen}
    numbers = {value for value in values if isinstance(value, int)}
    if given:
        return Scheme(tuple(given), origin, 0 if 0 in numbers else 1, by_itself=False)
    if numbers and all(one.label.first_label is not None for one in seen):
        of_hub = {one.label.value for one in seen if one.label.first_label == 0 and one.in_train}
        if not of_hub or of_hub >= set(range(len(AG_NEWS))):
            return Scheme(AG_NEWS, "AG News", 1, by_itself=False)
    names = AG_NEWS if values <= set(AG_NEWS) else ()
    return Scheme(names, "the labels", 0, by_itself=True)
