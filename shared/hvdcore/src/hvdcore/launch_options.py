"""Owns the options for several hosts, restarts and elastic runs; a part of `hvdcore.options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "ElasticTimeout",
    "HostDiscoveryScript",
    "Hostfile",
    "MaxNp",
    "MaxRestarts",
    "MinNp",
]

Hostfile = Annotated[
    Path | None,
    typer.Option(
        "--hostfile", metavar="FILE", help="Hosts in a file, 'name slots=N' a line, for --hosts."
    ),
]
MaxRestarts = Annotated[
    int | None,
    typer.Option(
        "--max-restarts", min=0, metavar="N",
        help="After a failure start again from the newest checkpoint on what is left, so many"
        " times. Default: 0; 10 with --min-np.",
    ),
]  # fmt: skip
MinNp = Annotated[
    int | None,
    typer.Option(
        "--min-np", min=1, metavar="N",
        help="Elastic: hosts may leave and join; fewer ranks than this wait for hosts.",
    ),
]  # fmt: skip
MaxNp = Annotated[
    int | None,
    typer.Option(
        "--max-np", min=1, metavar="N", help="Elastic: never more ranks. Default: all slots."
    ),
]
HostDiscoveryScript = Annotated[
    Path | None,
    typer.Option(
        "--host-discovery-script", metavar="FILE",
        help="Elastic: a program that prints the hosts there are now, name:slots a line.",
    ),
]  # fmt: skip
ElasticTimeout = Annotated[
    float | None,
    typer.Option(
        "--elastic-timeout", metavar="SECONDS",
        help="Elastic: how long to wait for enough hosts. Default: 600.",
    ),
]  # fmt: skip
