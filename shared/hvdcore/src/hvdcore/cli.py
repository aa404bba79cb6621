"""The `hvdcore` command line. It loads no framework; each command imports what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hvdcore import options as shared
from hvdcore.command_line import create_app
from hvdcore.errors import UserError
from hvdcore.options import StartOptions, takes

__all__ = ["app", "main"]

app = create_app(
    "hvdcore",
    "Launch any command on Horovod ranks, check this machine, and plan for more ranks.",
    "hvdcore",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Controller = Annotated[
    Literal["auto", "mpi", "gloo"],
    typer.Option(
        "--controller", rich_help_panel="Ranks and hosts",
        help="Library that ranks communicate through; auto takes MPI where it works.",
    ),
]  # fmt: skip
StartTimeout = Annotated[
    float,
    typer.Option(
        "--start-timeout", rich_help_panel="Ranks and hosts", metavar="SECONDS",
        help="All ranks must have started within this time.",
    ),
]  # fmt: skip
LogDir = Annotated[
    Path | None,
    typer.Option(
        "--log-dir", rich_help_panel="Output", metavar="DIR",
        help="Directory for rank-N.log. Default: logs are kept after a failure only.",
    ),
]  # fmt: skip


@app.command(
    context_settings={"allow_interspersed_args": False},
    no_args_is_help=True,
)
@takes(
    shared.START,
    {"controller": (Controller, "auto"), "start_timeout": (StartTimeout, 300.0), "log_dir": LogDir},
)
def launch(
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND...", help="Program and its arguments, passed on unchanged."
        ),
    ],
    **flags: Any,
) -> None:
    """Run COMMAND on N ranks through horovodrun, or on a Ray cluster.

    A COMMAND that is restarted finds HVDCORE_RESTART, the number of earlier starts, in its
    environment; trainers of this project resume from their newest checkpoint by themselves.

    Exit code: 0 done, 1 a rank failed, 2 wrong input, 143 or 130 stopped by a signal.
    """
    from hvdcore.launch.job.job import JobSettings
    from hvdcore.launch.launch import launch_on_hosts

    start = StartOptions.take(flags)
    # Inside a Slurm allocation the launcher finds the number of ranks by itself.
    unplaced = StartOptions(stall_timeout=start.stall_timeout, bind_to=start.bind_to)
    if start == unplaced and not start.needs_launcher:
        raise UserError("--np: give the number of ranks, or the hosts to start them on")
    settings = JobSettings(
        flags["controller"],
        start.stall_timeout_seconds,
        flags["start_timeout"],
        flags["log_dir"],
    )
    raise typer.Exit(launch_on_hosts(command, start, settings))


@app.command()
def doctor(
    as_json: Json = False,
    hosts: shared.Hosts = None,
    hostfile: shared.Hostfile = None,
    script: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A script for Horovod 0.28 to read for old calls."),
    ] = None,
) -> None:
    """Show what is installed, run a real two-rank allreduce, and say how to fix what is missing.

    With --hosts: check each host over ssh, and say which of them a job can use.
    With --script: name each line of a script for Horovod 0.28 that is written otherwise today. It
    is read, not run.

    Exit code: 0 if a two-rank job can run here, or all hosts are usable, else 1; with --script 0.
    2: wrong input.
    """
    from hvdcore.doctor.doctor import run_doctor, run_hosts_doctor
    from hvdcore.doctor.script import run_script_doctor

    if script is not None:
        if hosts or hostfile:
            raise UserError("--script: give it without --hosts and --hostfile")
        raise typer.Exit(run_script_doctor(script, as_json=as_json))
    if hosts or hostfile:
        raise typer.Exit(run_hosts_doctor(hosts, hostfile, as_json=as_json))
    raise typer.Exit(run_doctor(as_json=as_json))


@app.command()
def stacks(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Directory of a run that is training, or the process id of a launcher.",
        ),
    ],
) -> None:
    """Show where every rank of a live run stands: its Python frames and the collective it waits in.

    The run goes on. The stacks go into the ranks' logs too, as after `kill -USR1` to the launcher.

    Exit code: 0, or 1 if a rank did not answer; 2: no run is there.
    """
    from hvdcore.launch.stacks import print_stacks

    raise typer.Exit(print_stacks(run))


@app.command()
def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Folder that holds runs.")
    ] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs: running, stopped, failed or done, their newest scores, and how to resume.

    Exit code: 0; 2: no run is there.
    """
    from hvdcore.run.listing import print_runs

    raise typer.Exit(print_runs(folder, as_json=as_json))


@app.command()
def network(
    output: Annotated[
        Path,
        typer.Option(metavar="FILE", help="File to write the measurement to, for hvdcore plan."),
    ],
    np: shared.Np = None,
    hosts: shared.Hosts = None,
    hostfile: shared.Hostfile = None,
    controller: Controller = "auto",
) -> None:
    """Measure the latency and bandwidth of an allreduce on this network.

    Exit code: as launch.
    """
    from hvdcore.capacity.command import network_line
    from hvdcore.capacity.measure import rank_command, read_network
    from hvdcore.launch.job.job import JobSettings
    from hvdcore.launch.launch import launch_on_hosts

    start = StartOptions(np, hosts, hostfile=hostfile)
    if not start.needs_launcher:
        raise UserError("--np: give two or more ranks, or hosts; one rank communicates nothing")
    code = launch_on_hosts(rank_command(output), start, JobSettings(controller))
    if code == 0:
        typer.echo(network_line(read_network(output)))
    raise typer.Exit(code)


@app.command()
def plan(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run directory whose step times were measured.")
    ],
    np: Annotated[str, typer.Option(metavar="N,N,...", help="Numbers of ranks to predict.")],
    network: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Measurement written by hvdcore network.")
    ] = None,
    latency_us: Annotated[
        float | None, typer.Option(help="Latency of a message between two hosts, in microseconds.")
    ] = None,
    bandwidth_gbit: Annotated[
        float | None, typer.Option(help="Bandwidth of a host's link, in Gbit/s.")
    ] = None,
    price_per_host_hour: Annotated[
        float | None, typer.Option(help="Also show the cost, in the currency of this price.")
    ] = None,
    ranks_per_host: Annotated[
        int, typer.Option(min=1, help="Ranks per host: they share its link and its price.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Predict a run's throughput, efficiency and cost on more ranks than this machine has.

    The batch size per rank is kept. The time of a ring allreduce is added to the measured
    compute time.
    """
    from hvdcore.capacity.command import make_network, plan_run, read_sizes

    plan_run(
        run, read_sizes(np), make_network(network, latency_us, bandwidth_gbit),
        price_per_host_hour=price_per_host_hour, ranks_per_host=ranks_per_host, as_json=as_json,
    )  # fmt: skip


@app.command(
    context_settings={"allow_interspersed_args": False},
    no_args_is_help=True,
)
def slurm(
    command: Annotated[
        list[str],
        typer.Argument(
            help="PROGRAM train ... --output-dir DIR, as on one machine; put -- before it."
        ),
    ],
    time: Annotated[
        str,
        typer.Option(
            metavar="H:M:S",
            help="Time limit of a job; the rest of the training runs in the next one.",
        ),
    ],
    nodes: Annotated[int, typer.Option(metavar="N", help="Number of nodes.")] = 1,
    ranks_per_node: Annotated[
        int | None, typer.Option(metavar="N", help="Default: one per GPU, else one.")
    ] = None,
    cpus_per_rank: Annotated[int | None, typer.Option(metavar="N", help="Cores per rank.")] = None,
    gpus_per_node: Annotated[
        str | None, typer.Option(metavar="[TYPE:]N", help="GPUs per node.")
    ] = None,
    partition: Annotated[
        str | None, typer.Option(metavar="NAME", help="Partition to submit to.")
    ] = None,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="Account to charge.")] = None,
    array: Annotated[
        str | None,
        typer.Option(
            metavar="SEEDS",
            help="One job per seed (0-4, or 0-9%2 for two at a time), in DIR/seed-N.",
        ),
    ] = None,
    container: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="Container to run in: with Apptainer if FILE.sif, else with Pyxis.",
        ),
    ] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTION",
            help="Extra option for sbatch, such as --sbatch=--mem=64G; repeatable.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write. Default: standard output.")
    ] = None,
) -> None:
    """Write a batch script that trains under Slurm and resumes after preemption.

    A job that is preempted, loses a node or reaches its time limit saves a checkpoint, is requeued
    and resumes from it, to the same weights.
    """
    from hvdcore.launch.sbatch.request import Request
    from hvdcore.launch.sbatch.script import write_batch_script

    request = Request(
        time, nodes, ranks_per_node, cpus_per_rank, gpus_per_node, partition, account, array,
        container, tuple(sbatch or ()),
    )  # fmt: skip
    write_batch_script(request, command, output)


def main() -> None:
    """Entry point of the `hvdcore` command."""
    app()
