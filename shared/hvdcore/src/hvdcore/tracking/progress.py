"""Progress of a run: a bar on a terminal, a line now and then in a pipe; recent speed, time left.

Rank 0 shows it. rich is imported only when a bar is drawn.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

from hvdcore.tracking.logs import lines_go_above

__all__ = [
    "Progress",
    "Rate",
    "duration_text",
    "number_text",
]


class Rate:
    """Units a second over the latest stretch of time, fed with the clock by the caller.

    Args:
        start: the clock's seconds when the work begins.
        window_seconds: how far back the rate looks.
    """

    def __init__(self, start: float, window_seconds: float = 30.0) -> None:
        self._window_seconds = window_seconds
        self._marks: deque[tuple[float, float]] = deque([(start, 0.0)])

    def note(self, now: float, done: float) -> None:
        """`done` units in all were finished at the time `now`."""
        self._marks.append((now, done))
        # The oldest mark kept lies before the window, so that it is always spanned whole.
        while len(self._marks) > 2 and self._marks[1][0] <= now - self._window_seconds:
            self._marks.popleft()

    def per_second(self) -> float:
        """Units a second in the window; 0 before anything is known."""
        (begin, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - begin) if end > begin else 0.0


def number_text(value: float) -> str:
    """A number in about four characters: 7, 999, 1.2k, 34.5k, 1.2M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.1f}{unit}"
    return f"{value:.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.3g}"


def duration_text(seconds: float) -> str:
    """Seconds as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


_REDRAW_SECONDS = 0.2


class Progress:
    """Progress of a known amount of work, on stderr.

    Args:
        total: units of work in all.
        unit: what is counted, in the plural: `tokens`, `images`.
        enabled: give `world.is_root`; the others stay silent.
        description: what is being done.
        initial: units done before, when a run is resumed; they count for the bar, not the rate.
        interval_seconds: time from one line to the next where stderr is no terminal.
        stream: where to draw; default stderr.
        clock: seconds that only grow; a test gives its own.

    Example:
        >>> with Progress(total=1000, unit="tokens", enabled=False) as progress:
        ...     progress.advance(64, loss=1.87)
    """

    def __init__(
        self,
        total: float,
        unit: str,
        enabled: bool = True,
        *,
        description: str = "train",
        initial: float = 0,
        interval_seconds: float = 30.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._unit, self._description = total, unit, description
        self._enabled, self._initial, self._clock = enabled, initial, clock
        self._stream = stream if stream is not None else sys.stderr
        self._interval_seconds = interval_seconds
        self._done: float = 0
        self._postfix: dict[str, Any] = {}
        self._bar: Any = None

    def __enter__(self) -> Progress:
        now = self._clock()
        self._rate = Rate(now)
        self._shown_at = now
        if self._enabled and self._stream.isatty():
            self._bar = _rich_bar(self._stream)
            self._task = self._bar.add_task(
                self._description, total=self._total, completed=self._initial, status=""
            )
            self._bar.start()
            lines_go_above(self._write_above)
        return self

    def advance(self, n: float, **postfix: Any) -> None:
        """`n` more units are done. `postfix` (loss=1.87) is shown beside the rate; a value stays
        until the next of its name. Costs about a microsecond when nothing is due to be drawn."""
        self._done += n
        if not self._enabled:
            return
        if postfix:
            self._postfix.update(postfix)
        now = self._clock()
        due = _REDRAW_SECONDS if self._bar is not None else self._interval_seconds
        if now - self._shown_at >= due:
            self._show(now)

    def status(self) -> str:
        """The text beside the bar: rate, postfix, time left."""
        rate = self._rate.per_second()
        parts = [f"{number_text(rate)} {self._unit}/s"]
        parts += [f"{name} {_value_text(value)}" for name, value in self._postfix.items()]
        if rate > 0:
            left = max(self._total - self._initial - self._done, 0) / rate
            parts.append(f"{duration_text(left)} left")
        return ", ".join(parts)

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._show(self._clock())
            lines_go_above(None)
            self._bar.stop()
            self._bar = None

    def _write_above(self, text: str) -> None:
        # The bar is the line that the cursor stands in: a log line takes its place.
        self._stream.write("\r\x1b[2K" + text)
        self._stream.flush()
        self._bar.refresh()

    def _show(self, now: float) -> None:
        self._shown_at = now
        self._rate.note(now, self._done)
        completed = self._initial + self._done
        if self._bar is not None:
            self._bar.update(self._task, completed=completed, status=self.status())
            self._bar.refresh()
            return
        share = completed / self._total if self._total else 1.0
        # One write: under mpirun the pieces of a line written in parts mix with other ranks'.
        self._stream.write(f"{self._description} {share:.0%}: {self.status()}\n")
        self._stream.flush()


def _rich_bar(stream: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[status]}"),
        console=Console(file=stream),
        # Drawn from `advance`: a thread of its own would take the core from the training.
        auto_refresh=False,
        expand=True,
    )


def _value_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
