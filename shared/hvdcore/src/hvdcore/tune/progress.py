"""Progress of a search: a bar on a terminal, one line per trial in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from hvdcore.tracking.progress import duration_text
from hvdcore.tune.results import TrialRow, failure_text, params_text, shown

__all__ = ["SearchProgress", "seconds_left", "trial_line"]

_COUNTED = ("complete", "pruned", "failed")


def trial_line(row: TrialRow, metric: str, best: TrialRow | None) -> str:
    """`trial 3: loss 0.4123, best so far, 12.3 s; learning_rate 0.002`."""
    value = f"{metric} {shown(row.value)}" if row.value is not None else "no value"
    if row.state == "complete":
        note = "the best" if best and best.number == row.number else _than(best)
        head = f"{value}{note and ', ' + note}"
    else:
        head = row.state + (f" at {value}" if row.state == "pruned" else "")
        head += f" ({failure_text(row)})" if row.reason else ""
    seconds = "" if row.seconds is None else f", {row.seconds:.1f} s"
    return f"trial {row.number}: {head}{seconds}; {params_text(row.params)}"


def _than(best: TrialRow | None) -> str:
    return "" if best is None else f"best {shown(best.value)} of trial {best.number}"


def seconds_left(rows: Sequence[TrialRow], total: int, num_parallel: int) -> float | None:
    """Seconds until there are `total` trials, by the mean of those that ended; None at first."""
    took = [row.seconds for row in rows if row.state in _COUNTED and row.seconds is not None]
    num_left = total - sum(row.state in _COUNTED for row in rows)
    if not took:
        return None
    return max(num_left, 0) * sum(took) / len(took) / num_parallel


class SearchProgress:
    """Shows a search on stderr. rich is loaded only when a bar is drawn.

    Args:
        total: trials in all.
        stream: where to; default stderr.
        clock: seconds that only grow; a test gives its own.
    """

    def __init__(
        self,
        total: int,
        metric: str,
        num_parallel: int,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._metric, self._num_parallel = total, metric, num_parallel
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._bar: Any = None
        self._left: float | None = None
        self._left_at = clock()
        self._status = ""

    def __enter__(self) -> SearchProgress:
        if self._stream.isatty():
            self._bar = _rich_bar(self._stream)
            self._task = self._bar.add_task("tune", total=self._total, status="")
            self._bar.start()
        return self

    def start(self, rows: Sequence[TrialRow], best: TrialRow | None) -> None:
        """So many trials are there from earlier calls."""
        self._left = seconds_left(rows, self._total, self._num_parallel)
        self._left_at = self._clock()
        num_done = sum(row.state in _COUNTED for row in rows)
        self._status = f"{num_done} of {self._total}"
        if best is not None:
            self._status += f", best {self._metric} {shown(best.value)} (trial {best.number})"
        if self._bar is not None:
            self._bar.update(self._task, completed=num_done)

    def trial(self, row: TrialRow, rows: Sequence[TrialRow], best: TrialRow | None) -> None:
        """A trial has ended."""
        self.say(trial_line(row, self._metric, best))
        self.start(rows, best)

    def tick(self, num_running: int) -> None:
        """Draw again: the time left passes, and trials begin and end."""
        if self._bar is not None:
            self._bar.update(self._task, status=self.status(num_running))
            self._bar.refresh()

    def status(self, num_running: int) -> str:
        """The text beside the bar: trials, best value, how many run, time left."""
        parts = [self._status, f"{num_running} running"]
        if self._left is not None:
            left = max(self._left - (self._clock() - self._left_at), 0)
            parts.append(f"{duration_text(left)} left")
        return ", ".join(parts)

    def say(self, line: str) -> None:
        """A line of its own, above the bar."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
            return
        self._stream.write(line + "\n")
        self._stream.flush()

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.update(self._task, status=self._status)
            self._bar.stop()
            self._bar = None


def _rich_bar(stream: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[status]}"),
        console=Console(file=stream),
        auto_refresh=False,  # a thread of its own has no place where children are started
        expand=True,
    )
