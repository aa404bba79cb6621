"""Which columns of a table contain the text and the label, in the usual formats of AG News."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvdcore.errors import Problems, UserError

__all__ = ["Columns", "Layout", "layout_of_names", "layout_of_row"]

_TEXTS = (("title", "description"), ("text",))
_KAGGLE_LABEL = "class index"
_LABELS = ("label", _KAGGLE_LABEL)
_OFFICIAL_COLUMNS = 3


@dataclass(frozen=True)
class Columns:
    """The columns that the user named; empty and None to detect them. And the encoding of text."""

    text: tuple[str, ...] = ()
    label: str | None = None
    encoding: str = "utf-8"

    @property
    def are_named(self) -> bool:
        """Whether the user named any."""
        return bool(self.text) or self.label is not None


@dataclass(frozen=True)
class Layout:
    """Where the text and the label are in a row.

    Attributes:
        names: of the columns, or numbers from 1 if the file has no header.
        text: indices of the columns that make up the text, joined by a space.
        label: index of the label's column.
        first_label: the smallest of AG News's labels in this format (1 with title and description,
            0 with text); None if each label is a class of its own.
        has_header: whether the first row names the columns.
    """

    names: tuple[str, ...]
    text: tuple[int, ...]
    label: int
    first_label: int | None
    has_header: bool


def layout_of_names(names: Sequence[str], columns: Columns, shown: str) -> Layout:
    """The layout of a table whose columns have names.

    Raises:
        UserError: a column that the user named does not exist, or no known column does; or there
            are several of that name.
    """
    found = _known_layout(names, columns)
    if found is None:
        raise UserError(
            f"data: {shown}: its columns are {_listed(names)}; name those to read with "
            "--text-column and --label-column"
        )
    problems = Problems()
    for name in dict.fromkeys((*found[0], found[1])):
        if name not in names:
            field = "label_column" if name == columns.label else "text_column"
            problems.add(field, f"{shown}: no column {name!r}; it has {_listed(names)}")
        elif names.count(name) > 1:
            count = names.count(name)
            problems.add("data", f"{shown}: {count} columns are called {name!r}; rename the others")
    problems.raise_if_any()
    texts, label, first_label = found
    return Layout(
        tuple(names), tuple(names.index(t) for t in texts), names.index(label), first_label, True
    )


def layout_of_row(row: Sequence[str], columns: Columns, shown: str) -> Layout:
    """The layout of a CSV file from its first row, which may be a header or not.

    Raises:
        UserError: there is no header although columns were named, or the format is unknown.
    """
    names = [name.strip() for name in row]
    is_in_row = {*columns.text, columns.label or ""} & {*names}
    if columns.are_named and not is_in_row and (found := _numbered_layout(len(row), columns)):
        return found
    if columns.are_named or _known_layout(names, columns):
        if columns.are_named and _is_number(names[0]) and not {*columns.text} & {*names}:
            raise UserError(
                f"data: {shown}: row 1 is not a header ({_listed(names)}); add a header, "
                "leave --text-column and --label-column out, or give the columns by number "
                "(--label-column 1 --text-column 2,3)"
            )
        return layout_of_names(names, columns, shown)
    if len(row) < 2:
        raise UserError(
            f"data: {shown}: row 1 has one column ({_listed(names)}); give a label and a text, "
            "separated by a comma, a tab or a semicolon"
        )
    if not _is_number(names[0]):
        raise UserError(
            f"data: {shown}: row 1 begins with {_cut(names[0])!r}, which is not a label of "
            "the official format (label, title, description); if it is a header, give "
            "--text-column and --label-column"
        )
    text = tuple(range(1, len(row)))
    first_label = 1 if len(row) == _OFFICIAL_COLUMNS else None
    return Layout(tuple(str(n + 1) for n in range(len(row))), text, 0, first_label, False)


def _numbered_layout(count: int, columns: Columns) -> Layout | None:
    """The layout of a file without a header whose columns are given by numbers, from 1."""
    names = tuple(str(number + 1) for number in range(count))
    texts = columns.text or tuple(name for name in names if name != columns.label)
    label = columns.label or "1"
    if not {*texts, label} <= {*names}:
        return None
    return Layout(names, tuple(names.index(t) for t in texts), names.index(label), None, False)


def _known_layout(
    names: Sequence[str], columns: Columns
) -> tuple[tuple[str, ...], str, int | None] | None:
    """Text columns, label column and first label; None if they are unknown."""
    lowered = {name.lower(): name for name in reversed(names)}
    known = next((t for t in _TEXTS if all(name in lowered for name in t)), ())
    text = columns.text or tuple(lowered[name] for name in known)
    label = columns.label or next((lowered[name] for name in _LABELS if name in lowered), None)
    if not text or label is None:
        return None
    if columns.are_named:
        return text, label, None
    # With title and description in two columns, the labels are the official ones too.
    return text, label, int(label.lower() == _KAGGLE_LABEL or len(text) > 1)


def _is_number(text: str) -> bool:
    return text.lstrip("+-").isdigit()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_cut(name) for name in names[:8]) + (", ..." if len(names) > 8 else "")


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
