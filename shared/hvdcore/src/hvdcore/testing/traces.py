"""Owns reading Chrome trace events in tests, as strictly as a viewer that shows them all."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["trace_events"]


def trace_events(path: Path) -> list[dict[str, Any]]:
    """All events of a trace, which is an object with `traceEvents` or a plain list of them.

    Raises:
        AssertionError: it is not one whole JSON value, an event lacks what its kind must have, or
            an interval was begun and not ended.
    """
    content = json.loads(path.read_text("utf-8"))
    events: list[dict[str, Any]] = content["traceEvents"] if isinstance(content, dict) else content
    depth: Counter[Any] = Counter()
    for event in events:
        kind = event["ph"]
        assert "pid" in event, event
        assert kind == "M" or isinstance(event["ts"], (int, float)), event
        assert kind != "X" or event["dur"] >= 0, event
        lane = (event["pid"], event.get("tid"))
        depth[lane] += {"B": 1, "E": -1}.get(kind, 0)
        assert depth[lane] >= 0, event
    assert not +depth, depth
    return events
