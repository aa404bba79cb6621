"""The classes of a set of texts, their order and their names.

How labels become the names of classes: by their number in a list, or each by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hvdcore.errors import UserError

__all__ = [
    "AG_NEWS",
    "Classes",
    "Label",
    "Scheme",
    "SeenLabel",
    "check_classes",
    "find_classes",
    "find_scheme",
    "label_value",
    "read_class_names",
]

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


_WHOLE = re.compile(r"[+-]?[0-9]+(\.0+)?")
_MOST_CLASSES = 1000


@dataclass(frozen=True)
class Classes:
    """The classes that train has, and which label means which.

    Attributes:
        names: in order.
        origin: where the names come from, for people.
        index: class by label.
        problems: what is wrong with each label that means no class of train.
    """

    names: tuple[str, ...]
    origin: str
    index: dict[Label, int]
    problems: dict[Label, str] = field(default_factory=dict)


def label_value(value: object) -> int | str | None:
    """A whole number where it is or looks like one, else the text; None for nothing."""
    if value is None or value != value:
        return None
    text = str(value).strip()
    if _WHOLE.fullmatch(text):
        return int(float(text)) if "." in text else int(text)
    return text or None


def read_class_names(path: Path) -> tuple[str, ...] | None:
    """The lines of a `classes.txt`; None where there is no such file.

    Raises:
        UserError: a name comes twice, or there are less than two.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data: {path}: cannot be read ({error}); give a class a line") from error
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(set(names)) != len(names) or len(names) < 2:
        raise UserError(
            f"data: {path}: {len(names)} names; give two or more, each once, one a line"
        )
    return names


def find_classes(seen: Iterable[SeenLabel], given: Sequence[str], origin: str) -> Classes:
    """The classes that train has.

    Args:
        seen: every label that was met.
        given: names in order of the numbers, from `classes.txt` or from the file itself; empty
            where there are none.
        origin: where `given` is from.
    """
    met = sorted(set(seen), key=lambda one: _sort_key(one.label.value))
    scheme = find_scheme(met, given, origin)
    named = {one.label: scheme.name_of(one.label) for one in met}
    problems = {label: scheme.problem(label) for label, name in named.items() if name is None}
    in_train = {named[one.label] for one in met if one.in_train}
    order = dict.fromkeys([*scheme.names, *(name for name in named.values() if name)])
    names = tuple(name for name in order if name in in_train)
    for label, name in named.items():
        if name and name not in in_train:
            problems[label] = (
                f"label {name!r}, which train has not; mend it, or put such rows into train"
            )
    index = {label: names.index(name) for label, name in named.items() if name in names}
    return Classes(names, scheme.origin, index, problems)


def check_classes(classes: Classes) -> None:
    """Check that there is something to tell apart.

    Raises:
        UserError: fewer than two classes, or too many for a label.
    """
    names = classes.names
    if len(names) > _MOST_CLASSES:
        raise UserError(
            f"data: {len(names):,} different labels, such as {', '.join(names[:3])}; give the "
            "--label-column that holds the class"
        )
    if len(names) == 1:
        raise UserError(f"data: only one class, {names[0]}; give rows of two or more")


def _sort_key(value: int | str) -> tuple[int, int, str]:
    return (0, value, "") if isinstance(value, int) else (1, 0, value)
