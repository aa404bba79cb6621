"""The command-line options of `tune`: those of the trials' training, then those of the search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvdcore.options import (
    REAL,
    SCHEDULE,
    WHOLE,
    ConfigFile,
    Hosts,
    Np,
    OptionGroup,
    OutputDir,
    StallTimeout,
    config_options,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["tune_options"]

_SEARCH = {"rich_help_panel": "Search"}

Trials = Annotated[
    int | None,
    typer.Option(
        "--trials", **_SEARCH, **WHOLE,
        help="Trials in all, those of earlier calls included.  [default: 20]",
    ),
]  # fmt: skip
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", **_SEARCH, **REAL,
        help="Seconds until trials are stopped; the same command resumes. Default: none.",
    ),
]  # fmt: skip
ParallelTrials = Annotated[
    int | None,
    typer.Option(
        "--parallel-trials", **_SEARCH, **WHOLE,
        help="Trials at a time, which share the cores. Default: cores / --np; 1 on a GPU.",
    ),
]  # fmt: skip
ObjectiveName = Annotated[
    str | None,
    typer.Option(
        "--objective", **_SEARCH, metavar="NAME",
        help="Metric on val that is optimized.  [default: loss]",
    ),
]  # fmt: skip
Pruner = Annotated[
    str | None,
    typer.Option(
        "--pruner", **_SEARCH, metavar="median|halving|none",
        help="How unpromising trials are stopped early.  [default: median]",
    ),
]  # fmt: skip
SpaceFile = Annotated[
    Path | None,
    typer.Option(
        "--space", **_SEARCH, metavar="FILE",
        help="A TOML file with the search space, in place of the package's own.",
    ),
]  # fmt: skip
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine", **_SEARCH, metavar="local|ray",
        help="Where trials run: on this machine, or on a Ray cluster.  [default: local]",
    ),
]  # fmt: skip

SEARCH = {
    "trials": Trials, "timeout": Timeout, "parallel_trials": ParallelTrials,
    "objective": ObjectiveName, "pruner": Pruner, "space": SpaceFile, "engine": Engine,
}  # fmt: skip
STARTING = {
    "np": Np, "hosts": Hosts, "stall_timeout": StallTimeout, "output_dir": OutputDir,
    "config": ConfigFile,
}  # fmt: skip


def tune_options(config: type[BaseModel]) -> OptionGroup:
    """All options of `tune`, with the choices and defaults of a package's configuration."""
    return {**config_options(config, only=SCHEDULE), **STARTING, **SEARCH}
