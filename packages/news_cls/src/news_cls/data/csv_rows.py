"""Rows of a CSV file, read strictly: an unclosed quote is named by its row and swallows nothing."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from hvdcore.errors import UserError

__all__ = ["NUL", "csv_rows", "find_delimiter"]

NUL = "\ufffe"
"""Stands for a NUL byte, which the csv module of Python 3.10 refuses."""
_QUOTED = re.compile('"[^"]*"?')
_LONGEST_FIELD = 1 << 24
"""Characters; a field beyond it is an unclosed quote."""


def find_delimiter(first_line: str) -> str:
    """Comma, tab or semicolon: the one that comes first in the first line, outside of quotes.

    The first field is a label or the name of a column, which holds none of them.
    """
    found = re.search("[,\t;]", _QUOTED.sub("", first_line))
    return found.group() if found else ","


def csv_rows(lines: Iterable[str], shown: str) -> Iterator[tuple[int, list[str]]]:
    """Row numbers, from 1 as in a spreadsheet, and fields. Blank rows are counted, not given.

    Args:
        lines: with their ends.
        shown: the file's name for people.

    Raises:
        UserError: a quote is not closed; names the row and the line where it opens.
    """
    lines = iter(lines)
    first = next(lines, "")
    reader = csv.reader(_without_nul(first, lines), delimiter=find_delimiter(first), strict=True)
    row = line = 0
    with _long_fields():
        while True:
            row, line = row + 1, reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise UserError(
                    f"data: {shown}: row {row} (line {line}): a quote opens in it that is not "
                    'closed, or one inside a text is not doubled; close it, or write "" for "'
                ) from error
            if fields:
                yield row, fields


def _without_nul(first: str, lines: Iterable[str]) -> Iterator[str]:
    yield first.replace("\0", NUL)
    for line in lines:
        yield line.replace("\0", NUL)


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
