"""Owns the command-line options that all commands share: one name, one help text, one order.

Every option is None when it was not given, so that `load_config` can tell a flag from a default;
the defaults stand in each package's configuration. Imports typer alone.

Example:
    >>> @app.command()
    ... @takes(options.TRAIN)
    ... def train(**flags: Any) -> None: ...

Owns the options for hosts, restarts, elastic runs and Ray; a part of `hvdcore.options`.

Owns giving a command its options by groups: what several commands share is written once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from hvdcore.launch.options import StartOptions

__all__ = [
    "PLACES",
    "RANKS",
    "SCHEDULE",
    "SHARED_OPTIONS",
    "TRAIN",
    "CheckpointEvery",
    "ConfigFile",
    "CpusPerRank",
    "Data",
    "ElasticTimeout",
    "Epochs",
    "EvalEvery",
    "GlobalBatchSize",
    "GpusPerRank",
    "HostDiscoveryScript",
    "Hostfile",
    "Hosts",
    "LearningRate",
    "MaxNp",
    "MaxRestarts",
    "MaxSteps",
    "MinNp",
    "Model",
    "Np",
    "OptionGroup",
    "OutputDir",
    "Ray",
    "Resume",
    "Seed",
    "StallTimeout",
    "StartOptions",
    "takes",
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


def _lenient(number: Callable[[str], Any], name: str) -> Callable[[str], Any]:
    """Read a number, or pass the text on: the configuration then reports it together with every
    other problem, where the option parser would stop at the first."""

    def read(text: str) -> Any:
        try:
            return number(text)
        except ValueError:
            return text

    read.__name__ = name
    return read


WHOLE = {"parser": _lenient(int, "integer"), "metavar": "INTEGER"}
REAL = {"parser": _lenient(float, "number"), "metavar": "NUMBER"}

Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="sample|PATH|NAME",
        help="What to read: 'sample' (made on the spot, offline), a path, or a name to fetch.",
    ),
]  # fmt: skip
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir", metavar="DIR",
        help="Where to write. A run's default: runs/<package>/<time>.",
    ),
]  # fmt: skip
Np = Annotated[
    int | None,
    typer.Option(
        "--np", min=1, metavar="N",
        help="Number of ranks to start. Default: one, or those that a launcher has started.",
    ),
]  # fmt: skip
Hosts = Annotated[
    str | None,
    typer.Option(
        "--hosts", metavar="HOST:SLOTS,...",
        help="Hosts to start the ranks on, with the slots of each. Default: this machine.",
    ),
]  # fmt: skip
Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Which model to train.")]
Epochs = Annotated[
    int | None, typer.Option("--epochs", **WHOLE, help="Passes over the training data.")
]
MaxSteps = Annotated[
    int | None,
    typer.Option("--max-steps", **WHOLE, help="Stop after this many steps, whatever --epochs."),
]
GlobalBatchSize = Annotated[
    int | None,
    typer.Option(
        "--global-batch-size", **WHOLE,
        help="Samples a step over all ranks together; a multiple of their number.",
    ),
]  # fmt: skip
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate", **REAL,
        help="Peak learning rate; it belongs to the global batch, whatever the number of ranks.",
    ),
]  # fmt: skip
Seed = Annotated[
    int | None,
    typer.Option("--seed", **WHOLE, help="Seed of weights, sample order and sampling."),
]
EvalEvery = Annotated[
    int | None,
    typer.Option("--eval-every", **WHOLE, help="Steps from one validation to the next."),
]
CheckpointEvery = Annotated[
    int | None,
    typer.Option("--checkpoint-every", **WHOLE, help="Steps from one checkpoint to the next."),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume", metavar="auto|never|PATH",
        help="Go on from the run's newest whole checkpoint (auto), from a checkpoint or run"
        " (PATH), or start anew (never).",
    ),
]  # fmt: skip
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE",
        help="Read options from a TOML file or a run's config.json; flags win over it.",
    ),
]  # fmt: skip
StallTimeout = Annotated[
    float | None,
    typer.Option(
        "--stall-timeout", **REAL,
        help="Seconds without a sign of life from a rank until the run is ended. Default: 300.",
    ),
]  # fmt: skip

RANKS = {"np": Np, "hosts": Hosts, "stall_timeout": StallTimeout}
"""Of a command that runs on ranks."""
PLACES = {"data": Data, "output_dir": OutputDir, "np": Np, "hosts": Hosts}
"""What a training reads, where it writes and where it runs."""
SCHEDULE = {
    "model": Model, "epochs": Epochs, "max_steps": MaxSteps,
    "global_batch_size": GlobalBatchSize, "learning_rate": LearningRate, "seed": Seed,
    "eval_every": EvalEvery, "checkpoint_every": CheckpointEvery,
}  # fmt: skip
"""What is trained, how long, and what is told meanwhile."""
TRAIN = {
    **PLACES, **SCHEDULE, "resume": Resume, "config": ConfigFile, "stall_timeout": StallTimeout,
    "hostfile": Hostfile, "max_restarts": MaxRestarts, "min_np": MinNp, "max_np": MaxNp,
    "host_discovery_script": HostDiscoveryScript, "elastic_timeout": ElasticTimeout, "ray": Ray,
    "cpus_per_rank": CpusPerRank, "gpus_per_rank": GpusPerRank,
}  # fmt: skip
"""All of them, in the order in which every command lists them; a package's own come after."""
SHARED_OPTIONS = tuple("--" + name.replace("_", "-") for name in TRAIN)
"""Their flags, in that order."""


P = ParamSpec("P")
T = TypeVar("T")

OptionGroup = Mapping[str, Any]
"""Names of parameters to `Annotated[..., typer.Option(...)]`, which then is None when it was not
given, or to a pair of that and another default."""


def takes(*groups: OptionGroup) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a Typer command that ends in `**flags`: it gets the options of the groups there.

    The parameters that it names itself come first, then the groups in their order.

    Raises:
        ValueError: an option stands in two groups, or the command names it too.

    Example:
        >>> @app.command()
        ... @takes(options.RANKS, {"seed": (Seed, 0)})
        ... def evaluate(model: Model, **flags: Any) -> None: ...
    """

    def decorate(command: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(command, eval_str=True)
        named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        parameters = [*named, *(_parameter(*item) for group in groups for item in group.items())]
        names = [parameter.name for parameter in parameters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{command.__name__}: options given twice: {', '.join(twice)}")
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _parameter(name: str, option: Any) -> inspect.Parameter:
    annotation, default = option if isinstance(option, tuple) else (option, None)
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)
