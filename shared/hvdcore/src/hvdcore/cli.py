"""Owns the `hvdcore` command line. Loads no framework; each command imports what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

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
    np: Annotated[int, typer.Option("--np", help="Number of ranks.")],
    hosts: Annotated[
        str | None, typer.Option(help="name:slots,name:slots; default: this machine.")
    ] = None,
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
) -> None:
    """Run COMMAND on N ranks through horovodrun.

    Exit code: 0 done, 1 a rank failed, 2 wrong input, 143 or 130 stopped by a signal.
    """
    from hvdcore.errors import user_errors_exit
    from hvdcore.launch import launch as start

    with user_errors_exit():
        code = start(
            command,
            np,
            hosts,
            controller=controller,
            stall_timeout_seconds=stall_timeout,
            start_timeout_seconds=start_timeout,
            log_dir=log_dir,
        )
    raise typer.Exit(code)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Show what is installed, run a real two-rank allreduce, and say what to do about gaps.

    Exit code: 0 when a two-rank job can run here, else 1.
    """
    from hvdcore.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=as_json))


def main() -> None:
    """Entry point of the `hvdcore` command."""
    app()
