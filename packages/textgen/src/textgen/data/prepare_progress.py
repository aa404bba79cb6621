"""Owns what is seen while a corpus is prepared: on rank 0 a bar for each stage, on all a beat."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hvdcore.runtime.heartbeat import beat
from hvdcore.tracking.progress import Progress
from textgen.data import documents

__all__ = ["shown_progress"]


@contextlib.contextmanager
def shown_progress(enabled: bool) -> Iterator[documents.Progress]:
    """What `prepare` reports to. Stages whose end is not known show no bar.

    Args:
        enabled: give `world.is_root`; the others only tell that they are alive.
    """
    with contextlib.ExitStack() as shown:
        bars: dict[str, tuple[Progress, list[float]]] = {}

        def show(stage: str, done: float, total: float) -> None:
            beat("prepare")
            if not total:
                return
            if stage not in bars:
                bar = Progress(total, "bytes", enabled, description=stage)
                bars[stage] = (shown.enter_context(bar), [0.0])
            bar, before = bars[stage]
            bar.advance(done - before[0])
            before[0] = done

        yield show
