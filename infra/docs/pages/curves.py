"""The figures and the table of what `trust/make_curves.py` measured, where it has been run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).resolve().parents[1] / "figures"
RANKS = """
## Any number of ranks trains the same model

```{figure} ../figures/ranks.svg
:alt: Train loss of 1, 2, 3 and 4 ranks on one curve, another seed apart; differences from two ranks
:class: on-white

The same command on 1, 2, 3 and 4 ranks, on the built-in stories. Left: the four curves are one.
Right: how far each is from the run on two ranks: by rounding, as sums are made in another order.
The dotted control is the same run with another seed.
```

## Killed, resumed, moved

```{figure} ../figures/resume.svg
:alt: Killed and resumed runs, and an elastic one, on the curve of the whole run
:class: on-white

Killed by SIGKILL half-way and resumed on two ranks and on three, and an elastic run in which a
third slot appears. Resumed on as many ranks as before, the run is the whole one to the bit.
```
"""
HEAD = "| run | last train loss | largest difference from 2 ranks | same weights, to the bit |"


def page() -> str:
    """Figures, one row a run and how they were made; nothing where the figures have not been."""
    measured = FIGURES / "curves.json"
    if not measured.exists():
        return ""
    found = json.loads(measured.read_text(encoding="utf-8"))
    rows = [
        f"| {name} | {run['last_loss']:.6f} | {_gap(run['largest_difference'])} |"
        f" {'yes' if run['same_weights'] else 'no'} |"
        for name, run in found["runs"].items()
    ]
    return "\n".join([RANKS, HEAD, "|---|---|---|---|", *rows, "", _made(found)])


def _made(found: dict[str, Any]) -> str:
    """Sentences: the largest difference, the control, the command, versions and date."""
    gaps = {name: run["largest_difference"] for name, run in found["runs"].items()}
    control = max(gap for name, gap in gaps.items() if name.startswith("control"))
    largest = max(gap for name, gap in gaps.items() if not name.startswith("control"))
    made = found["made"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return (
        f"The largest difference between two curves at any step is {_gap(largest)} nats a byte;"
        f" to the control it is {_gap(control)}. Made on {made['date']} with {versions}; each run"
        f" is `{made['train']}` and `--np`."
    )


def _gap(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}"
