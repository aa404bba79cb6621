"""Owns the command-line options that all commands share: one name, one help text, one order.

Every option is None when it was not given, so that `load_config` can tell a flag from a default;
the defaults stand in each package's configuration. Imports typer alone.

Example:
    >>> def train(
    ...     data: options.Data = None,
    ...     output_dir: options.OutputDir = None,
    ...     np: options.Np = None,
    ... ) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hvdcore.launch_options import (
    CpusPerRank,
    ElasticTimeout,
    GpusPerRank,
    HostDiscoveryScript,
    Hostfile,
    MaxNp,
    MaxRestarts,
    MinNp,
    Ray,
)
from hvdcore.start_options import StartOptions

__all__ = [
    "SHARED_OPTIONS",
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
    "OutputDir",
    "Ray",
    "Resume",
    "Seed",
    "StallTimeout",
    "StartOptions",
]


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

SHARED_OPTIONS = (
    "--data", "--output-dir", "--np", "--hosts", "--model", "--epochs", "--max-steps",
    "--global-batch-size", "--learning-rate", "--seed", "--eval-every", "--checkpoint-every",
    "--resume", "--config", "--stall-timeout", "--hostfile", "--max-restarts", "--min-np",
    "--max-np", "--host-discovery-script", "--elastic-timeout", "--ray", "--cpus-per-rank",
    "--gpus-per-rank",
)  # fmt: skip
"""The order in which every command lists the shared options; a package's own come after."""
