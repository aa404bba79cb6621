"""From labels in files to classes: by their number in a list of names, or each label by itself."""

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
"""The classes of AG News in the order of their labels."""
MAX_CLASSES = 1000
_INTEGER = re.compile(r"[+-]?[0-9]+(\.0+)?")
_LONGEST_INTEGER = 100
_LONGEST_NAME = 250
"""Characters."""
_NO_LABEL = (-1, -100)
"""With which Hugging Face's data sets, and PyTorch's losses, mark a row without a label."""


class Label(NamedTuple):
    """A label as it is in a file.

    Attributes:
        value: a number or a text.
        first_label: see `Layout.first_label`.
    """

    value: int | str
    first_label: int | None


class SeenLabel(NamedTuple):
    """A label that was read, and whether train, or data that is still to be split, has it."""

    label: Label
    in_train: bool


@dataclass(frozen=True)
class Scheme:
    """What labels mean.

    Attributes:
        names: in order of the numbers; if each label is a class, the first ones.
        origin: where the names come from, for display.
        first_label: number of the first name, if the format of the file does not determine it.
    """

    names: tuple[str, ...]
    origin: str
    first_label: int
    by_itself: bool

    def name_of(self, label: Label) -> str | None:
        """The name of a label's class; None if it has none."""
        if self.by_itself:
            return str(label.value)
        if isinstance(label.value, str):
            return label.value if label.value in self.names else None
        number = label.value - self._first(label)
        return self.names[number] if 0 <= number < len(self.names) else None

    def problem(self, label: Label) -> str:
        """What is wrong with a label that has no class, and how to fix it."""
        first = self._first(label)
        last = first + len(self.names) - 1
        return (
            f"label {str(label.value)[:40]!r} is neither one of {first}..{last} nor one of the "
            f"names ({self.origin}); fix it, put a classes.txt with one name per line beside "
            "the data, or give --label-column and --text-column to make each label a class"
        )

    def _first(self, label: Label) -> int:
        return self.first_label if label.first_label is None else label.first_label


def find_scheme(seen: Sequence[SeenLabel], given: Sequence[str], origin: str) -> Scheme:
    """What the labels that were read mean together.

    Numbers are indices into the given names, or into AG News's names if the format is AG News's
    and all four of its numbers occur: other data comes in the same form, with 1 and 2 for example,
    or with 1 to 14 (DBpedia). A number above four alone is a mistake in AG News.

    Args:
        given: names that the data brings, from `origin`; may be empty.
    """
    values = {one.label.value for one in seen}
    numbers = {value for value in values if isinstance(value, int)}
    if given:
        return Scheme(tuple(given), origin, 0 if 0 in numbers else 1, by_itself=False)
    if numbers and all(one.label.first_label is not None for one in seen):
        in_train = [one.label for one in seen if one.in_train]
        met = {
            label.value - (label.first_label or 0)
            for label in in_train
            if isinstance(label.value, int)
        }
        if met >= set(range(len(AG_NEWS))) and not _is_another_set(met, seen):
            return Scheme(AG_NEWS, "AG News", 1, by_itself=False)
    names = AG_NEWS if values <= set(AG_NEWS) else ()
    return Scheme(names, "the labels", 0, by_itself=True)


def _is_another_set(met: set[int], seen: Sequence[SeenLabel]) -> bool:
    """Whether the numbers, from 0, run without a gap beyond AG News's, and not by a single slip."""
    if met != set(range(len(met))):
        return False
    others = {
        one.label.value - (one.label.first_label or 0)
        for one in seen
        if not one.in_train and isinstance(one.label.value, int)
    }
    more = met - set(range(len(AG_NEWS)))
    return len(more) > 1 or (len(more) == 1 and more <= others)


@dataclass(frozen=True)
class Classes:
    """The classes that train has, and which label means which.

    Attributes:
        names: in order.
        origin: where the names come from, for display.
        index: class by label.
        problems: what is wrong with each label that is no class of train.
    """

    names: tuple[str, ...]
    origin: str
    index: dict[Label, int]
    problems: dict[Label, str] = field(default_factory=dict)


def label_value(value: object) -> int | str | None:
    """An integer if it is or looks like one, else the text; None for a missing value.

    An integer of many digits (an identifier) stays a text: each is a class of its own.
    """
    if value is None or value != value:
        return None
    text = str(value).strip()
    if len(text) <= _LONGEST_INTEGER and _INTEGER.fullmatch(text):
        return int(text.partition(".")[0])
    return text or None


def read_class_names(path: Path) -> tuple[str, ...] | None:
    """The lines of a `classes.txt`; None if there is no such file.

    Raises:
        UserError: a name occurs twice, or there are fewer than two.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"data: {path}: cannot be read ({error}); give one class per line"
        ) from error
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(set(names)) != len(names) or len(names) < 2:
        raise UserError(
            f"data: {path}: {len(names)} names; give two or more, each once, one per line"
        )
    return names


def find_classes(seen: Iterable[SeenLabel], given: Sequence[str], origin: str) -> Classes:
    """The classes that train has.

    Args:
        seen: all labels that were read.
        given: names in order of the numbers, from `classes.txt` or from the file itself; may be
            empty.
        origin: where `given` comes from.
    """
    met = sorted(set(seen), key=lambda one: _sort_key(one.label.value))
    scheme = find_scheme(met, given, origin)
    named = {one.label: scheme.name_of(one.label) for one in met}
    problems = {label: scheme.problem(label) for label, name in named.items() if name is None}
    for label in _unlabelled(met, scheme):
        named[label] = None
        problems[label] = (
            f"label {str(label.value)!r}, which Hugging Face's data sets give a row without one; "
            "label it or remove it (if it is a class, give the classes names)"
        )
    in_train = {named[one.label] for one in met if one.in_train}
    order = dict.fromkeys([*scheme.names, *(name for name in named.values() if name)])
    names = tuple(name for name in order if name in in_train)
    for label, name in named.items():
        if name and name not in in_train:
            problems[label] = (
                f"label {name!r}, which train does not have; fix it, or add such rows to train"
            )
    index = {label: names.index(name) for label, name in named.items() if name in names}
    return Classes(names, scheme.origin, index, problems)


def _unlabelled(seen: Sequence[SeenLabel], scheme: Scheme) -> list[Label]:
    """The labels that mark rows without one: below the numbers 0, 1, 2, ... of three classes or
    more, or in no row of train. -1, 0 and 1 alone are often three classes."""
    if not scheme.by_itself:
        return []
    in_train = {one.label.value for one in seen if one.in_train}
    numbers = in_train - set(_NO_LABEL)
    counts = len(numbers) > 2 and numbers == set(range(len(numbers)))
    return [
        one.label
        for one in seen
        if one.label.value in _NO_LABEL and (counts or one.label.value not in in_train)
    ]


def check_classes(classes: Classes) -> None:
    """Check the number of classes.

    Raises:
        UserError: there is only one, or too many for a label.
    """
    names = classes.names
    if len(names) > MAX_CLASSES:
        raise UserError(
            f"data: {len(names):,} different labels, such as {', '.join(names[:3])}; give the "
            "--label-column with the class"
        )
    longest = max((name for name in names if not name.isdigit()), key=len, default="")
    if len(longest) > _LONGEST_NAME:
        raise UserError(
            f"data: a label of {len(longest):,} characters ({longest[:20]!r}...), which is a text; "
            "give the --label-column with the class"
        )
    if len(names) == 1:
        raise UserError(f"data: only one class, {names[0]}; give rows of two or more")


def _sort_key(value: int | str) -> tuple[int, int, str]:
    return (0, value, "") if isinstance(value, int) else (1, 0, value)
