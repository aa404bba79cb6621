"""Owns the `hvdcore` command line. Loads no framework; each command imports what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hvdcore import options as shared

__all__ = ["app", "main"]

app = typer.Typer(
    help="Start any command on Horovod ranks, see whether this machine can, and plan for more.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help costs a third of the time of the framed one
    add_completion=False,
)

Controller = Annotated[
    Literal["auto", "mpi", "gloo"],
    typer.Option(help="What ranks talk through; auto takes MPI where it works."),
]


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
    controller: Controller = "auto",
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
    ray: shared.Ray = None,
    cpus_per_rank: shared.CpusPerRank = None,
    gpus_per_rank: shared.GpusPerRank = None,
) -> None:
    """Run COMMAND on N ranks through horovodrun, or on a Ray cluster.

    A COMMAND that is started again finds HVDCORE_RESTART, the number of starts before, in its
    environment; trainers of this project go on from their newest checkpoint by themselves.

    Exit code: 0 done, 1 a rank failed, 2 wrong input, 143 or 130 stopped by a signal.
    """
    from hvdcore.errors import UserError, user_errors_exit
    from hvdcore.launch.job.job import JobSettings
    from hvdcore.launch.launch import launch_on_hosts

    start = shared.StartOptions(
        np, hosts, stall_timeout, hostfile, max_restarts, min_np, max_np,
        host_discovery_script, elastic_timeout, ray, cpus_per_rank, gpus_per_rank,
    )  # fmt: skip
    settings = JobSettings(controller, stall_timeout, start_timeout, log_dir)
    with user_errors_exit():
        # Inside a Slurm allocation there may be nothing to say.
        if start == shared.StartOptions(stall_timeout=stall_timeout) and not start.needs_launcher:
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
    from hvdcore.doctor.doctor import run_doctor, run_hosts_doctor
    from hvdcore.errors import user_errors_exit

    with user_errors_exit():
        if hosts or hostfile:
            raise typer.Exit(run_hosts_doctor(hosts, hostfile, as_json=as_json))
    raise typer.Exit(run_doctor(as_json=as_json))


@app.command()
def network(
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="Where the figures go, for hvdcore plan.")
    ],
    np: shared.Np = None,
    hosts: shared.Hosts = None,
    hostfile: shared.Hostfile = None,
    controller: Controller = "auto",
) -> None:
    """Measure what sums over ranks cost on this network: its latency and bandwidth.

    Exit code: as launch.
    """
    from hvdcore.capacity.command import network_line
    from hvdcore.capacity.measure import rank_command, read_network
    from hvdcore.errors import UserError, user_errors_exit
    from hvdcore.launch.job.job import JobSettings
    from hvdcore.launch.launch import launch_on_hosts

    start = shared.StartOptions(np, hosts, hostfile=hostfile)
    with user_errors_exit():
        if not start.needs_launcher:
            raise UserError("--np: give two ranks or more, or hosts: one rank sends nothing")
        code = launch_on_hosts(rank_command(output), start, JobSettings(controller))
        if code == 0:
            typer.echo(network_line(read_network(output)))
    raise typer.Exit(code)


@app.command()
def plan(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run whose steps were measured.")],
    np: Annotated[str, typer.Option(metavar="N,N,...", help="Numbers of ranks to predict.")],
    network: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What hvdcore network has measured.")
    ] = None,
    latency_us: Annotated[
        float | None, typer.Option(help="Of a message between two hosts, in microseconds.")
    ] = None,
    bandwidth_gbit: Annotated[
        float | None, typer.Option(help="Of a host's link, in Gbit a second.")
    ] = None,
    price_per_host_hour: Annotated[
        float | None, typer.Option(help="Also tell the cost, in this price's currency.")
    ] = None,
    ranks_per_host: Annotated[int, typer.Option(min=1, help="For the cost.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict a run's throughput, efficiency and cost on more ranks than there are here.

    Each rank keeps the samples a step that it had. A ring allreduce is added to the measured
    computing.
    """
    from hvdcore.capacity.command import make_network, plan_run, read_sizes
    from hvdcore.errors import user_errors_exit

    with user_errors_exit():
        plan_run(
            run, read_sizes(np), make_network(network, latency_us, bandwidth_gbit),
            price_per_host_hour=price_per_host_hour, ranks_per_host=ranks_per_host,
            as_json=as_json,
        )  # fmt: skip


@app.command(
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
    no_args_is_help=True,
)
def slurm(
    command: Annotated[
        list[str],
        typer.Argument(help="PROGRAM train ... --output-dir DIR, as on one machine, after --."),
    ],
    time: Annotated[
        str, typer.Option(metavar="H:M:S", help="Limit of a run; what is left goes on in another.")
    ],
    nodes: Annotated[int, typer.Option(metavar="N", help="Number of nodes.")] = 1,
    ranks_per_node: Annotated[
        int | None, typer.Option(metavar="N", help="Default: one for each GPU, else one.")
    ] = None,
    cpus_per_rank: Annotated[
        int | None, typer.Option(metavar="N", help="Cores for each rank.")
    ] = None,
    gpus_per_node: Annotated[
        str | None, typer.Option(metavar="[TYPE:]N", help="GPUs of each node.")
    ] = None,
    partition: Annotated[str | None, typer.Option(metavar="NAME", help="Where to queue.")] = None,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="Whose time it is.")] = None,
    array: Annotated[
        str | None,
        typer.Option(
            metavar="SEEDS",
            help="A job for each seed (0-4, or 0-9%2 for two at a time), in DIR/seed-N.",
        ),
    ] = None,
    container: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="Run in it: by Apptainer if FILE.sif, else by Pyxis."),
    ] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION", help="Another option of sbatch, as --sbatch=--mem=64G."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write. Default: print it.")
    ] = None,
) -> None:
    """Write a batch script that trains under Slurm and goes on after preemption.

    A job that is preempted, loses a node or comes to its time limit saves, is queued again, and
    goes on from its newest checkpoint, to the same weights.
    """
    from hvdcore.errors import user_errors_exit
    from hvdcore.launch.sbatch.request import Request
    from hvdcore.launch.sbatch.script import write_batch_script

    request = Request(
        time, nodes, ranks_per_node, cpus_per_rank, gpus_per_node, partition, account, array,
        container, tuple(sbatch or ()),
    )  # fmt: skip
    with user_errors_exit():
        write_batch_script(request, command, output)


def main() -> None:
    """Entry point of the `hvdcore` command."""
    app()
