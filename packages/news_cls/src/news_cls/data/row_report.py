"""What reading found: skipped rows, notes about unusual ones, and rows that are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hvdcore.classifier.prepared import Tally
from hvdcore.errors import Problems, UserError

__all__ = ["RowReport"]

MAX_NAMED_ROWS = 3
MAX_PROBLEMS = 20
NOT_UTF8 = "not UTF-8"
_ENCODINGS = ("cp1252", "cp1251", "shift_jis", "gb18030", "latin-1")
_MAX_TEXTS = 100


class RowReport:
    """Counts and first rows by reason; a wrong row does not end the reading.

    Attributes:
        skipped: rows that were left out, by reason.
        notes: rows that were used although they are unusual, by what they are.
        lost_labels: of the rows that were left out.
    """

    def __init__(self) -> None:
        self.skipped = Tally()
        self.notes = Tally()
        self.lost_labels: set[object] = set()
        self._raw: list[bytes] = []
        self._wrong: dict[tuple[str, str], list[int]] = {}
        self._problems: list[str] = []

    def wrong(self, file: str, row: int, problem: str) -> None:
        """Add a row that the user must fix; `problem` says what is wrong and what to do."""
        self._wrong.setdefault((file, problem), []).append(row)

    def keep_bytes(self, text: str) -> None:
        """Keep the bytes of a text that is not UTF-8, to find its encoding."""
        if len(self._raw) < _MAX_TEXTS:
            with suppress(UnicodeEncodeError):  # a lone surrogate that JSON spelled
                self._raw.append(text.encode("utf-8", "surrogateescape"))

    def note_encoding(self) -> None:
        """Note which encoding would read the rows that were left out as not UTF-8."""
        if found := self.encoding():
            self.notes.add(f"{NOT_UTF8}: --encoding {found} would read them", "the rows left out")

    def encoding(self) -> str | None:
        """An encoding that would read the rows that are not UTF-8; None if there are none."""
        if not self._raw:
            return None
        return next((name for name in _ENCODINGS if self._is_in(name)), None)

    def _is_in(self, encoding: str) -> bool:
        try:
            texts = [raw.decode(encoding) for raw in self._raw]
        except UnicodeDecodeError:
            return False
        return all(text.isprintable() or encoding == "latin-1" for text in texts)

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Keep a UserError of the block, and continue after it."""
        try:
            yield
        except UserError as error:
            self._problems += error.problems

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self._wrong or self._problems)

    def raise_if_any(self) -> None:
        """Raise one error with all problems.

        Raises:
            UserError: one line per kind of problem and file, with the first rows.
        """
        problems = Problems()
        for line in self._problems:
            problems.extend(UserError(line))
        for (file, problem), rows in list(self._wrong.items())[:MAX_PROBLEMS]:
            problems.add("data", f"{file}: {_rows(rows)}: {problem}")
        if len(self._wrong) > MAX_PROBLEMS:
            problems.add("data", f"and {len(self._wrong) - MAX_PROBLEMS} more kinds of problems")
        problems.raise_if_any()


def _rows(rows: list[int]) -> str:
    named = ", ".join(map(str, rows[:MAX_NAMED_ROWS]))
    more = f" and {len(rows) - MAX_NAMED_ROWS} more" if len(rows) > MAX_NAMED_ROWS else ""
    return f"row{'s' if len(rows) > 1 else ''} {named}{more}"
