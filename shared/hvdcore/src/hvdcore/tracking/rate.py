"""Owns the speed of a run as a person wants to see it: recent, with the time left."""

from __future__ import annotations

from collections import deque

__all__ = ["Rate", "duration_text", "number_text"]


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
