"""The table beside the curves, from what `trust/make_curves.py` measured."""

from __future__ import annotations

import json
from pathlib import Path

FIGURES = Path(__file__).resolve().parents[1] / "figures" / "curves.json"


def page() -> str:
    """One row a run."""
    rows = [
        f"| {name} | {run['last_loss']:.6f} | {_gap(run['largest_difference'])} |"
        f" {'yes' if run['same_weights'] else 'no'} |"
        for name, run in json.loads(FIGURES.read_text(encoding="utf-8")).items()
    ]
    head = [
        "| run | last train loss | largest difference from 2 ranks | same weights, to the bit |"
    ]
    return "\n".join([*head, "|---|---|---|---|", *rows])


def _gap(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"
