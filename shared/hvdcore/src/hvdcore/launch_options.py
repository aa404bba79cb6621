"""Owns the options for hosts, restarts, elastic runs and Ray; a part of `hvdcore.options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "CpusPerRank",
    "ElasticTimeout",
    "GpusPerRank",
    "HostDiscoveryScript",
    "Hostfile",
    "MaxNp",
    "MaxRestarts",
    "MinNp",
    "Ray",
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
        help="Elastic, and on Ray: how long to wait for enough hosts. Default: 600; 60 on Ray for"
        " a run of one size.",
    ),
]  # fmt: skip
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray", metavar="ADDRESS|auto",
        help="Start the ranks on a Ray cluster: the HOST:PORT of its head, or auto for the one of"
        " RAY_ADDRESS or of this host. Without --np: as many as are free.",
    ),
]  # fmt: skip
CpusPerRank = Annotated[
    int | None,
    typer.Option(
        "--cpus-per-rank", min=1, metavar="N", help="On Ray: CPUs kept for each rank. Default: 1."
    ),
]
GpusPerRank = Annotated[
    int | None,
    typer.Option(
        "--gpus-per-rank", min=0, metavar="0|1",
        help="On Ray: whether a GPU is kept for each rank. Default: 1 where the cluster has some.",
    ),
]  # fmt: skip
