"""The figures and the table of what `trust/make_curves.py` measured, where it has been run."""

from __future__ import annotations

import json
from pathlib import Path

FIGURES = Path(__file__).resolve().parents[1] / "figures"
RANKS = """
## Any number of ranks trains the same model

```{figure} ../figures/ranks.svg
:alt: Train loss of 1, 2, 3 and 4 ranks on one curve, another seed apart; differences from two ranks
:class: on-white

The same command on 1, 2, 3 and 4 ranks, on the built-in stories. Left: the four curves are one.
Right: they differ by rounding, as sums are made in another order. The dotted control is the same
run with another seed.
```

## Killed, resumed, moved

```{figure} ../figures/resume.svg
:alt: Killed and resumed runs, and an elastic one, on the curve of the whole run
:class: on-white

Killed by SIGKILL half-way and resumed on two ranks, on three, and an elastic run in which a third
slot appears.
```
"""


def page() -> str:
    """Figures and one row a run; nothing where the figures have not been made."""
    measured = FIGURES / "curves.json"
    if not measured.exists():
        return ""
    rows = [
        f"| {name} | {run['last_loss']:.6f} | {_gap(run['largest_difference'])} |"
        f" {'yes' if run['same_weights'] else 'no'} |"
        for name, run in json.loads(measured.read_text(encoding="utf-8")).items()
    ]
    head = "| run | last train loss | largest difference from 2 ranks | same weights, to the bit |"
    return "\n".join([RANKS, head, "|---|---|---|---|", *rows])


def _gap(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"
