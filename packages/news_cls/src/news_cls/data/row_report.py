"""What reading met: rows that were skipped, oddities that were taken, and rows that are wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from hvdcore.errors import Problems, UserError

__all__ = ["RowReport"]

EXAMPLES = 5
"""Places named for each reason."""
_NAMED_ROWS = 3
_MOST_PROBLEMS = 20


class RowReport:
    """Counts and first places by reason; a wrong row does not end the reading.

    Attributes:
        skipped: rows left out, by reason.
        notes: what was taken though it is odd, by what it is.
    """

    def __init__(self) -> None:
        self.skipped = _Tally()
        self.notes = _Tally()
        self._wrong: dict[tuple[str, str], list[int]] = {}
        self._problems: list[str] = []

    def wrong(self, file: str, row: int, problem: str) -> None:
        """A row that the user must mend; `problem` says what is wrong and what to do."""
        self._wrong.setdefault((file, problem), []).append(row)

    @contextmanager
    def catching(self) -> Iterator[None]:
        """A UserError in the block is kept, and the reading goes on after the block."""
        try:
            yield
        except UserError as error:
            self._problems += error.problems

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self._wrong or self._problems)

    def raise_if_any(self) -> None:
        """Raise one error with all that is wrong.

        Raises:
            UserError: a line for each kind of problem in each file, with the first rows.
        """
        problems = Problems()
        for line in self._problems:
            problems.extend(UserError(line))
        for (file, problem), rows in list(self._wrong.items())[:_MOST_PROBLEMS]:
            problems.add("data", f"{file}: {_rows(rows)}: {problem}")
        if len(self._wrong) > _MOST_PROBLEMS:
            problems.add("data", f"and {len(self._wrong) - _MOST_PROBLEMS} kinds of problems more")
        problems.raise_if_any()


class _Tally:
    """How often, and where first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, reason: str, where: str) -> None:
        self.counts[reason] += 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            kept.append(where)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def to_json(self) -> dict[str, dict[str, object]]:
        """For meta.json."""
        return {
            reason: {"count": count, "examples": self.examples[reason]}
            for reason, count in self.counts.items()
        }


def _rows(rows: list[int]) -> str:
    named = ", ".join(map(str, rows[:_NAMED_ROWS]))
    more = f" and {len(rows) - _NAMED_ROWS} more" if len(rows) > _NAMED_ROWS else ""
    return f"row{'s' if len(rows) > 1 else ''} {named}{more}"
