"""`train --open`: report.html while the run goes on; the page loads itself again in the browser.

It is written from the lines of metrics.jsonl, without matplotlib, whose figures take a second. The
report at the end takes its place.
"""

from __future__ import annotations

import html
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hvdcore.files.atomic import write_bytes_atomically
from hvdcore.run.report import series
from hvdcore.run.run_dir import RunDir
from hvdcore.tracking.logs import get_logger

__all__ = ["LiveReport", "ask_to_open", "open_if_asked"]

logger = get_logger(__name__)
REFRESH_SECONDS = 5
_MAX_POINTS = 400
_SHOWN = ("loss", "accuracy", "perplexity", "bits_per_byte", "macro_f1")
_COLORS = {"train": "#e07b00", "val": "#1f83d6"}  # told apart on white and on black
_WIDTH, _HEIGHT, _MARGIN = 640, 220, 46
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">{refresh}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; }}
body {{ padding: 0 1rem; }}
h1 {{ font-size: 1.7rem; overflow-wrap: anywhere; }} h2 {{ font-size: 1.2rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem 0 .3rem 1.6rem; text-align: right; border-bottom: 1px solid #8884; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
svg {{ width: 100%; height: auto; }} text {{ fill: currentColor; font-size: 12px; }}
.swatch {{ display: inline-block; width: 1.2em; border-top: 3px solid; margin: 0 .3em 0 .6em; }}
.swatch {{ vertical-align: middle; }}
@media (max-width: 40rem) {{ text {{ font-size: 20px; }} }}
</style></head>
<body><h1>{title}</h1><p>{state}</p>
{table}
{figures}
</body></html>
"""

_asked = False


def ask_to_open() -> None:
    """From now on a run of this process shows its report while it goes on."""
    global _asked
    _asked = True


def open_if_asked(page: Path) -> None:
    """Open the page, if that was asked for and no page of this run is open yet."""
    global _asked
    if not _asked:
        return
    _asked = False
    if not _has_display():
        logger.info("open: there is no browser here; the report is %s", page.resolve())
        return
    # A browser's own start may take seconds, and one in the terminal does not return.
    threading.Thread(
        target=webbrowser.open, args=(page.resolve().as_uri(),), daemon=True, name="open report"
    ).start()


def _has_display() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


class LiveReport:
    """The page of a run that goes on. On rank 0 only.

    Args:
        run: its metrics.jsonl may hold lines already, when the run is resumed.
    """

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._rows = run.read_metrics()
        self._written_at = -float("inf")

    @classmethod
    def if_asked(cls, run: RunDir) -> LiveReport | None:
        """The page, if the run is to show itself."""
        return cls(run) if _asked else None

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a line of metrics.jsonl; the page is written every few seconds at most."""
        self._rows.append(dict(row))
        now = time.monotonic()
        if now - self._written_at >= REFRESH_SECONDS:
            self._written_at = now
            self._write("The run goes on; this page loads itself again.", refresh=True)
            open_if_asked(self._run.report_html)

    def close(self) -> None:
        """The run has ended. Without a report, the page says so and stops loading itself."""
        if not self._run.report.exists():
            self._write("The run was stopped before its end; --resume auto resumes it.")

    def _write(self, state: str, refresh: bool = False) -> None:
        page = live_page(str(self._run.path), state, self._rows, refresh=refresh)
        write_bytes_atomically(self._run.report_html, page.encode("utf-8", "replace"))


def live_page(
    title: str, state: str, rows: Sequence[Mapping[str, Any]], *, refresh: bool = False
) -> str:
    """The whole page, as HTML.

    Args:
        rows: lines of metrics.jsonl.
        refresh: the browser loads the page again every few seconds.
    """
    tag = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if refresh else ""
    figures = [_figure(name, rows) for name in _SHOWN]
    return _PAGE.format(
        refresh=tag, title=html.escape(title), state=html.escape(state), table=_newest(rows),
        figures="\n".join(figure for figure in figures if figure),
    )  # fmt: skip


def _newest(rows: Sequence[Mapping[str, Any]]) -> str:
    newest = {str(row.get("split")): row for row in rows}
    names = [name for name in _SHOWN if any(row.get(name) is not None for row in newest.values())]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("split", "step", *names))
    lines = []
    for split, row in newest.items():
        cells = [split, str(row.get("step", "")), *(_number(row.get(name)) for name in names)]
        lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "-"


def _figure(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Curves over the step as SVG; empty where no split has two points."""
    curves = {split: _thinned(*series(rows, split, name)) for split in ("train", "val")}
    curves = {split: points for split, points in curves.items() if len(points) > 1}
    if not curves:
        return ""
    xs, ys = zip(*(point for points in curves.values() for point in points), strict=True)
    box = (min(xs), max(xs), min(ys), max(ys))
    lines = [_polyline(points, box, _COLORS[split]) for split, points in curves.items()]
    title, legend = name.replace("_", " "), "".join(map(_legend, curves))
    label = f"{title} of {' and '.join(curves)} over the steps"
    return (
        f"<h2>{title}{legend}</h2>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(lines)}{_axes(box)}</svg>"
    )


def _legend(split: str) -> str:
    return f'<span class="swatch" style="border-color: {_COLORS[split]}"></span>{split}'


def _thinned(steps: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    points = list(zip(steps, values, strict=True))
    if len(points) <= _MAX_POINTS:
        return points
    return [*points[:: len(points) // _MAX_POINTS + 1], points[-1]]


def _polyline(
    points: Iterable[tuple[float, float]], box: tuple[float, float, float, float], color: str
) -> str:
    left, right, low, high = box
    across, up = (right - left) or 1, (high - low) or 1
    places = " ".join(
        f"{_MARGIN + (x - left) / across * (_WIDTH - 2 * _MARGIN):.1f},"
        f"{_HEIGHT - 24 - (y - low) / up * (_HEIGHT - 40):.1f}"
        for x, y in points
    )
    return f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{places}"/>'


def _axes(box: tuple[float, float, float, float]) -> str:
    left, right, low, high = box
    return (
        f'<text x="0" y="20">{high:.4g}</text><text x="0" y="{_HEIGHT - 24}">{low:.4g}</text>'
        f'<text x="{_MARGIN}" y="{_HEIGHT - 4}">step {left:g}</text>'
        f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 4}" text-anchor="end">{right:g}</text>'
    )
