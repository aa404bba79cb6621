"""Owns the command-line options of `tune`; those it shares are in `hvdcore.options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvdcore.options import PLACES, REAL, SCHEDULE, WHOLE, ConfigFile, StallTimeout

__all__ = ["TUNE"]

Trials = Annotated[
    int | None,
    typer.Option(
        "--trials", **WHOLE,
        help="Trials in all, those of earlier calls included. Default: 20.",
    ),
]  # fmt: skip
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", **REAL,
        help="Seconds until trials are stopped; the same command goes on. Default: none.",
    ),
]  # fmt: skip
ParallelTrials = Annotated[
    int | None,
    typer.Option(
        "--parallel-trials", **WHOLE,
        help="Trials at a time, which share the cores. Default: cores / --np; 1 on a GPU.",
    ),
]  # fmt: skip
ObjectiveName = Annotated[
    str | None,
    typer.Option("--objective", metavar="NAME", help="What is searched for on val. Default: loss."),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine", metavar="local|ray",
        help="What runs trials: this machine, or a Ray cluster. Default: local.",
    ),
]  # fmt: skip
Pruner = Annotated[
    str | None,
    typer.Option(
        "--pruner", metavar="median|halving|none",
        help="How trials that are not promising are stopped early. Default: median.",
    ),
]  # fmt: skip
SpaceFile = Annotated[
    Path | None,
    typer.Option(
        "--space", metavar="FILE",
        help="A TOML file with what is searched, in place of the package's own space.",
    ),
]  # fmt: skip

TUNE = {
    **PLACES, **SCHEDULE, "config": ConfigFile, "stall_timeout": StallTimeout,
    "trials": Trials, "timeout": Timeout, "parallel_trials": ParallelTrials,
    "objective": ObjectiveName, "pruner": Pruner, "space": SpaceFile, "engine": Engine,
}  # fmt: skip
"""All options of `tune`: those of a training that trials share, then those of the search."""
