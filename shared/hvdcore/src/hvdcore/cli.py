"""Owns the `hvdcore` command line. Loads no framework; each command imports what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hvdcore import options as shared

__all__ = ["app", "main"]

app = typer.Typer(
    help="Start any command on Horovod ranks, and see whether this machine can.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help costs a third of the time of the framed one
    add_completion=False,
)


@app.command(
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
    no_args_is_help=True,
)
def launch(
    command: Annotated[
        list[str],
        typer.Argument(
            help="Program and arguments; everything from here on is passed on as it is."
        ),
    ],
    np: shared.Np = None,
    hosts: shared.Hosts = None,
    hostfile: shared.Hostfile = None,
    controller: Annotated[
        Literal["auto", "mpi", "gloo"],
        typer.Option(help="What ranks talk through; auto takes MPI where it works."),
    ] = "auto",
    stall_timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds without a sign of life until a rank is given up. "
            "Default: HVDCORE_STALL_TIMEOUT, else 300."
        ),
    ] = None,
    start_timeout: Annotated[
        float, typer.Option(help="Seconds within which all ranks must have started.")
    ] = 300.0,
    log_dir: Annotated[
        Path | None, typer.Option(help="Folder for rank-N.log; default: kept after a failure only.")
    ] = None,
    max_restarts: shared.MaxRestarts = None,
    min_np: shared.MinNp = None,
    max_np: shared.MaxNp = None,
    host_discovery_script: shared.HostDiscoveryScript = None,
    elastic_timeout: shared.ElasticTimeout = None,
) -> None:
    """Run COMMAND on N ranks through horovodrun.

    A COMMAND that is started again finds HVDCORE_RESTART, the number of starts before, in its
    environment; trainers of this project go on from their newest checkpoint by themselves.

    Exit code: 0 done, 1 a rank failed, 2 wrong input, 143 or 130 stopped by a signal.
    """
    from hvdcore.elastic.run import launch_on_hosts
    from hvdcore.errors import UserError, user_errors_exit
    from hvdcore.start_job import JobSettings

    start = shared.StartOptions(
        np, hosts, stall_timeout, hostfile, max_restarts, min_np, max_np,
        host_discovery_script, elastic_timeout,
    )  # fmt: skip
    settings = JobSettings(controller, stall_timeout, start_timeout, log_dir)
    with user_errors_exit():
        if start == shared.StartOptions(stall_timeout=stall_timeout):
            raise UserError("--np: give the number of ranks, or the hosts to start them on")
        code = launch_on_hosts(command, start, settings)
    raise typer.Exit(code)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    hosts: shared.Hosts = None,
    hostfile: shared.Hostfile = None,
) -> None:
    """Show what is installed, run a real two-rank allreduce, and say what to do about gaps.

    With --hosts: ask each host over ssh, and say which of them a job can use.

    Exit code: 0 when a two-rank job can run here, or all hosts are fit; else 1.
    """
    from hvdcore.doctor import run_doctor
    from hvdcore.errors import user_errors_exit
    from hvdcore.fleet.doctor import run_hosts_doctor

    with user_errors_exit():
        if hosts or hostfile:
            raise typer.Exit(run_hosts_doctor(hosts, hostfile, as_json=as_json))
    raise typer.Exit(run_doctor(as_json=as_json))


def main() -> None:
    """Entry point of the `hvdcore` command."""
    app()
