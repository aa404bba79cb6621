"""What the labels mean: the classes, their order and their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hvdcore.errors import UserError
from news_cls.row_report import RowReport

__all__ = ["AG_NEWS", "Classes", "LabelPlace", "find_classes", "read_class_names"]

AG_NEWS = ("World", "Sports", "Business", "Sci/Tech")
"""The classes of AG News in the order of their numbers."""
_WHOLE = re.compile(r"[+-]?[0-9]+(\.0+)?")
_MOST_CLASSES = 1000


class LabelPlace(NamedTuple):
    """A label as it stands in a file.

    Attributes:
        value: a number or a text.
        first_label: see `Layout.first_label`.
        in_train: whether the row belongs to train, or to data that is still to be cut.
    """

    value: int | str
    first_label: int | None
    in_train: bool
    file: str
    row: int


@dataclass(frozen=True)
class Classes:
    """The classes, and which label means which.

    Attributes:
        names: in order.
        origin: where the names come from, for people.
        index: class by (value, first_label).
    """

    names: tuple[str, ...]
    origin: str
    index: dict[tuple[int | str, int | None], int]


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


def find_classes(
    places: Iterable[LabelPlace], given: Sequence[str], origin: str, report: RowReport
) -> Classes:
    """The classes that train has. Labels that mean none are put down in `report`.

    Args:
        given: names in order of the numbers, from `classes.txt` or from the file itself; empty
            where there are none.
        origin: where `given` is from.

    Raises:
        UserError: train has fewer than two classes, or too many for a label.
    """
    first = {}  # the first place of each label, that of train before others
    for place in places:
        key = (place.value, place.first_label)
        if key not in first or (place.in_train and not first[key].in_train):
            first[key] = place
    seen = sorted(first.values(), key=lambda p: _sort_key(p.value))
    scheme = _scheme(seen, given, origin)
    wanted: dict[tuple[int | str, int | None], str] = {}
    for place in seen:
        name = scheme.name_of(place)
        if name is None:
            report.wrong(place.file, place.row, scheme.problem(place))
        else:
            wanted[place.value, place.first_label] = name
    in_train = {wanted[k] for k, place in first.items() if place.in_train and k in wanted}
    names = tuple(
        name for name in dict.fromkeys([*scheme.names, *wanted.values()]) if name in in_train
    )
    _check_train(names, first, wanted, report)
    index = {key: names.index(name) for key, name in wanted.items() if name in in_train}
    return Classes(names, scheme.origin, index)


@dataclass(frozen=True)
class _Scheme:
    """How labels become names: by their number in a list, or each by itself."""

    names: tuple[str, ...]
    origin: str
    first_label: int
    by_itself: bool

    def name_of(self, place: LabelPlace) -> str | None:
        if self.by_itself:
            return str(place.value)
        if isinstance(place.value, str):
            return place.value if place.value in self.names else None
        number = place.value - self._first(place)
        return self.names[number] if 0 <= number < len(self.names) else None

    def problem(self, place: LabelPlace) -> str:
        first = self._first(place)
        last = first + len(self.names) - 1
        return (
            f"label {str(place.value)[:40]!r} is neither one of {first}..{last} nor one of the "
            f"names ({self.origin}); mend it, put a classes.txt with a name a line "
            "beside the data, or give --label-column and --text-column to make each label a class"
        )

    def _first(self, place: LabelPlace) -> int:
        return self.first_label if place.first_label is None else place.first_label


def _scheme(seen: Sequence[LabelPlace], given: Sequence[str], origin: str) -> _Scheme:
    values = {place.value for place in seen}
    numbers = {value for value in values if isinstance(value, int)}
    if given:
        return _Scheme(tuple(given), origin, 0 if 0 in numbers else 1, by_itself=False)
    if all(place.first_label is not None for place in seen) and numbers:
        of_hub = {p.value for p in seen if p.first_label == 0 and p.in_train}
        if not of_hub or of_hub >= set(range(len(AG_NEWS))):
            return _Scheme(AG_NEWS, "AG News", 1, by_itself=False)
    names = AG_NEWS if values <= set(AG_NEWS) else ()
    return _Scheme(names, "the labels", 0, by_itself=True)


def _check_train(
    names: Sequence[str],
    first: dict[tuple[int | str, int | None], LabelPlace],
    wanted: dict[tuple[int | str, int | None], str],
    report: RowReport,
) -> None:
    for key, name in wanted.items():
        if name not in names:
            place = first[key]
            report.wrong(
                place.file, place.row,
                f"label {name!r}, which train has not; mend it, or put such rows into train",
            )  # fmt: skip
    if report:
        return  # rows that could not be read may hold the classes that are missing
    with report.catching():
        if len(names) > _MOST_CLASSES:
            raise UserError(
                f"data: {len(names):,} different labels, such as {', '.join(names[:3])}; give the "
                "--label-column that holds the class"
            )
        if len(names) == 1:
            raise UserError(f"data: only one class, {names[0]}; give rows of two or more")


def _sort_key(value: int | str) -> tuple[int, int, str]:
    return (0, value, "") if isinstance(value, int) else (1, 0, value)
