"""The classes of a set of texts, their order and their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hvdcore.errors import UserError
from news_cls.data.label_scheme import AG_NEWS, Label, SeenLabel, find_scheme

__all__ = ["AG_NEWS", "Classes", "check_classes", "find_classes", "label_value", "read_class_names"]

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
