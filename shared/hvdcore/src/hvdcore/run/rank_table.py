"""The table of a report that shows where the ranks' time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hvdcore.run.pages import Runs
from hvdcore.run.report import Section, Table

__all__ = ["rank_sections", "rank_table"]

_MAX_RANKS = 64
_TEXT = (
    "Seconds of a step, means over the run. In synchronous training all ranks take the time of the"
    " slowest; where one works longer than the others, those wait for it."
)


def rank_sections(found: Runs) -> list[Section]:
    """A section for each run of two or more ranks whose times were logged."""
    sections = []
    for label, run in found.runs.items():
        table = rank_table(run.read_metrics())
        if table is not None:
            sections.append(Section(f"Ranks{found.suffix(label)}", _TEXT, table=table))
    return sections


def rank_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """A row for each rank, from the lines of metrics.jsonl; None where they hold no times.

    Lines from before a restart with another number of ranks are left out.
    """
    told = [row for row in rows if row.get("rank_work_seconds")]
    if not told:
        return None
    size = len(told[-1]["rank_work_seconds"])
    told = [row for row in told if len(row["rank_work_seconds"]) == size]
    work, wait = (
        [sum(row[name][rank] for row in told) / len(told) for rank in range(size)]
        for name in ("rank_work_seconds", "rank_wait_seconds")
    )
    slowest = max(work) or 1.0
    cells = [
        [str(rank), f"{work[rank]:.4f}", f"{wait[rank]:.4f}", f"{work[rank] / slowest:.0%}"]
        for rank in range(size)
    ]
    if size > _MAX_RANKS:
        cells = sorted(cells, key=lambda row: row[1], reverse=True)[:_MAX_RANKS]
    return Table(["rank", "working", "waiting", "work of the slowest"], cells)
