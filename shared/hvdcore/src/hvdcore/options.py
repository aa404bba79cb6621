"""The command-line options: those that all commands share, and those that a configuration has.

What several commands share has one name, one help text and one order. Every option is None when it
was not given, so that `load_config` can tell a flag from a default; the defaults stand in each
package's configuration, and `config_options` shows them in `--help`.

Example:
    >>> @app.command()
    ... @takes(config_options(TrainConfig), options.OUTPUT, options.START)
    ... def train(**flags: Any) -> None: ...
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, TypeVar, get_args, get_origin

import typer

from hvdcore.launch.options import StartOptions

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from hvdcore.config import Flag

__all__ = [
    "OUTPUT",
    "RANKS",
    "SHARED_OPTIONS",
    "START",
    "BindTo",
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
    "Open",
    "OptionGroup",
    "OutputDir",
    "Ray",
    "Resume",
    "Runs",
    "Seed",
    "Splits",
    "StallTimeout",
    "StartOptions",
    "config_options",
    "takes",
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


WHOLE: dict[str, Any] = {"parser": _lenient(int, "integer"), "metavar": "INTEGER"}
REAL: dict[str, Any] = {"parser": _lenient(float, "number"), "metavar": "NUMBER"}

_DATA = {"rich_help_panel": "Data"}
_MODEL = {"rich_help_panel": "Model"}
_OPTIMIZATION = {"rich_help_panel": "Optimization"}
_RANKS = {"rich_help_panel": "Ranks and hosts"}
_ELASTIC = {"rich_help_panel": "Elastic"}
_OUTPUT = {"rich_help_panel": "Output"}

Data = Annotated[
    str | None,
    typer.Option(
        "--data", **_DATA, metavar="sample|PATH|NAME",
        help="What to read: 'sample' (generated, offline), a path, or the name of a data set to"
        " download.",
    ),
]  # fmt: skip
Model = Annotated[
    str | None, typer.Option("--model", **_MODEL, metavar="NAME", help="Which model to train.")
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", **_OPTIMIZATION, **WHOLE, help="Passes over the training data."),
]
MaxSteps = Annotated[
    int | None,
    typer.Option(
        "--max-steps", **_OPTIMIZATION, **WHOLE,
        help="Stop after this many steps, whatever --epochs.",
    ),
]  # fmt: skip
GlobalBatchSize = Annotated[
    int | None,
    typer.Option(
        "--global-batch-size", **_OPTIMIZATION, **WHOLE,
        help="Samples per step over all ranks together; a multiple of their number.",
    ),
]  # fmt: skip
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate", **_OPTIMIZATION, **REAL,
        help="Peak learning rate, for the global batch: it does not depend on the number of ranks.",
    ),
]  # fmt: skip
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", **_OPTIMIZATION, **WHOLE, help="Seed of weights, sample order and sampling."
    ),
]
Np = Annotated[
    int | None,
    typer.Option(
        "--np", **_RANKS, min=1, metavar="N",
        help="Number of ranks to start. Default: 1, or as many as the launcher started.",
    ),
]  # fmt: skip
Hosts = Annotated[
    str | None,
    typer.Option(
        "--hosts", **_RANKS, metavar="HOST:SLOTS,...",
        help="Hosts to start the ranks on, with the slots of each. Default: this machine.",
    ),
]  # fmt: skip
Hostfile = Annotated[
    Path | None,
    typer.Option(
        "--hostfile", **_RANKS, metavar="FILE",
        help="File with the hosts, one 'name slots=N' per line, in place of --hosts.",
    ),
]  # fmt: skip
StallTimeout = Annotated[
    float | None,
    typer.Option(
        "--stall-timeout", **_RANKS, **REAL,
        help="End the run when a rank shows no progress for this many seconds. Default: 300.",
    ),
]  # fmt: skip
MaxRestarts = Annotated[
    int | None,
    typer.Option(
        "--max-restarts", **_RANKS, min=0, metavar="N",
        help="Restart a failed run from its newest checkpoint on the remaining hosts, up to N"
        " times. Default: 0; 10 with --min-np.",
    ),
]  # fmt: skip
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray", **_RANKS, metavar="ADDRESS|auto",
        help="Start the ranks on a Ray cluster: HOST:PORT of its head, or auto for RAY_ADDRESS or"
        " the cluster on this host. Default for --np: all free slots.",
    ),
]  # fmt: skip
CpusPerRank = Annotated[
    int | None,
    typer.Option(
        "--cpus-per-rank", **_RANKS, min=1, metavar="N",
        help="With --ray: CPUs reserved per rank. Default: 1.",
    ),
]  # fmt: skip
GpusPerRank = Annotated[
    int | None,
    typer.Option(
        "--gpus-per-rank", **_RANKS, min=0, metavar="0|1",
        help="With --ray: GPUs reserved per rank. Default: 1 if the cluster has any.",
    ),
]  # fmt: skip
BindTo = Annotated[
    str | None,
    typer.Option(
        "--bind-to", **_RANKS, metavar="auto|numa|core|none",
        help="Bind each rank to cores of its own (core), to the NUMA node of those (numa), or not"
        " at all. Default: auto, which is numa where several nodes have as many ranks each. What"
        " Slurm, mpirun or taskset has bound stays as it is.",
    ),
]  # fmt: skip
MinNp = Annotated[
    int | None,
    typer.Option(
        "--min-np", **_ELASTIC, min=1, metavar="N",
        help="Let hosts leave and join, and wait for hosts while there are fewer ranks than this.",
    ),
]  # fmt: skip
MaxNp = Annotated[
    int | None,
    typer.Option(
        "--max-np", **_ELASTIC, min=1, metavar="N",
        help="Largest number of ranks. Default: all slots.",
    ),
]  # fmt: skip
HostDiscoveryScript = Annotated[
    Path | None,
    typer.Option(
        "--host-discovery-script", **_ELASTIC, metavar="FILE",
        help="Program that prints the hosts available now, one name:slots per line.",
    ),
]  # fmt: skip
ElasticTimeout = Annotated[
    float | None,
    typer.Option(
        "--elastic-timeout", **_ELASTIC, metavar="SECONDS",
        help="How long to wait for enough hosts, also with --ray. Default: 600; 60 with --ray and"
        " a fixed number of ranks.",
    ),
]  # fmt: skip
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir", **_OUTPUT, metavar="DIR",
        help="Directory to write to. Default of a run: runs/<package>/<time>.",
    ),
]  # fmt: skip
EvalEvery = Annotated[
    int | None,
    typer.Option("--eval-every", **_OUTPUT, **WHOLE, help="Steps between two evaluations on val."),
]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        "--checkpoint-every", **_OUTPUT, **WHOLE, help="Steps between two checkpoints."
    ),
]  # fmt: skip
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume", **_OUTPUT, metavar="auto|never|PATH",
        help="Resume from the run's newest complete checkpoint (auto), from a given checkpoint or"
        " run (PATH), or start from scratch (never).",
    ),
]  # fmt: skip
Open = Annotated[
    bool,
    typer.Option(
        "--open", **_OUTPUT,
        help="Open the report in the browser; it follows the run while it goes on.",
    ),
]  # fmt: skip
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE",
        help="Read options from a TOML file or a run's config.json; flags override it.",
    ),
]  # fmt: skip
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="One or more run directories.")]
Splits = Annotated[
    list[str] | None,
    typer.Option(
        "--split", **_DATA, metavar="train|val|test",
        help="Split to score; may be repeated. Default: val and test.",
    ),
]  # fmt: skip

SCHEDULE = {
    "data": Data, "model": Model, "epochs": Epochs, "max_steps": MaxSteps,
    "global_batch_size": GlobalBatchSize, "learning_rate": LearningRate, "seed": Seed,
    "eval_every": EvalEvery, "checkpoint_every": CheckpointEvery,
}  # fmt: skip
"""Fields that every training configuration has."""
RANKS = {"np": Np, "hosts": Hosts, "stall_timeout": StallTimeout}
"""Of a command that runs on ranks."""
START = {
    "np": Np, "hosts": Hosts, "hostfile": Hostfile, "stall_timeout": StallTimeout,
    "max_restarts": MaxRestarts, "ray": Ray, "cpus_per_rank": CpusPerRank,
    "gpus_per_rank": GpusPerRank, "min_np": MinNp, "max_np": MaxNp,
    "host_discovery_script": HostDiscoveryScript, "elastic_timeout": ElasticTimeout,
    "bind_to": BindTo,
}  # fmt: skip
"""Of a command that may also be restarted, run elastically or on Ray: the fields of
`StartOptions`."""
OUTPUT = {
    "output_dir": OutputDir, "resume": Resume, "open": (Open, False), "config": ConfigFile,
}  # fmt: skip
"""Where a training writes, what it resumes, and where its options are read from."""
TRAIN = {**SCHEDULE, **START, **OUTPUT}
SHARED_OPTIONS = tuple("--" + name.replace("_", "-") for name in TRAIN)
"""The flags that every `train` has."""


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


def config_options(
    config: type[BaseModel], only: Collection[str] | None = None, without: Collection[str] = ()
) -> OptionGroup:
    """The options of a configuration: one for each field, in the order of the fields.

    The flag is the field's name, the help text its docstring, the metavar and the completion its
    type or the choices of a `Literal`, `[default: ...]` its default; `Annotated[str, Flag(...)]`
    says more. The panel is the class attribute `panel` of the group of fields that declares it. A
    field that every training has (`data`, `epochs`, ...) keeps the help text of all.

    Args:
        config: the model class; fields that are groups give their own fields.
        only: names of the fields to take; None takes all.
        without: names of the fields to leave out.

    Raises:
        ValueError: a field has no docstring, or a name in `only` or `without` is no field.
    """
    fields = _fields(config)
    wanted = [*fields] if only is None else [*only]
    if unknown := [name for name in (*wanted, *without) if name not in fields]:
        raise ValueError(f"{config.__name__} has no field {', '.join(unknown)}")
    first = [name for name in SCHEDULE if name in wanted]
    order = dict.fromkeys([*first, *(name for name in fields if name in wanted)])
    return {name: _config_option(*fields[name]) for name in order if name not in without}


def _fields(config: type[BaseModel]) -> dict[str, tuple[type[BaseModel], str, FieldInfo]]:
    """Name -> (the class that declares it, name, field), in the order of the bases."""
    from hvdcore.config import field_group

    fields: dict[str, tuple[type[BaseModel], str, FieldInfo]] = {}
    for owner in (*config.__mro__[1:], config):
        for name in inspect.get_annotations(owner):
            field = getattr(config, "model_fields", {}).get(name)
            if field is None or name in fields:
                continue
            group = field_group(field.annotation)
            fields |= _fields(group) if group is not None else {name: (config, name, field)}
    return fields


def _config_option(config: type[BaseModel], name: str, field: FieldInfo) -> Any:
    marker = _flag(field)
    kind = _kind(field.annotation)
    info = _shared_info(name) or _new_info(name, kind, marker.alias)
    choices = marker.choices or _choices(field.annotation)
    info.metavar = marker.metavar or "|".join(choices) or info.metavar
    if choices:
        info.autocompletion = _completion(choices)
    info.rich_help_panel = marker.panel or info.rich_help_panel or _panel(config, name)
    info.help = _help(config, name, field, info.help)
    read = kind if kind in (bool, int, float) else str
    return Annotated[read | None, info]


def _flag(field: FieldInfo) -> Flag:
    from hvdcore.config import Flag

    return next((mark for mark in field.metadata if isinstance(mark, Flag)), Flag())


def _shared_info(name: str) -> Any:
    return copy.copy(get_args(SCHEDULE[name])[1]) if name in SCHEDULE else None


def _new_info(name: str, kind: Any, alias: str | None) -> Any:
    flag = name.replace("_", "-")
    if kind is bool:
        return typer.Option(f"--{flag}/--no-{flag}")
    flags = [f"--{alias}", f"--{flag}"] if alias else [f"--{flag}"]
    if kind in (int, float):
        return typer.Option(*flags, **(WHOLE if kind is int else REAL))
    return typer.Option(*flags, metavar="NAME,..." if get_origin(kind) is tuple else "TEXT")


def _kind(annotation: Any) -> Any:
    """The type of a field, without `| None`."""
    if get_origin(annotation) in (tuple, Literal):
        return annotation
    return next((kind for kind in get_args(annotation) if kind is not type(None)), annotation)


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(choice) for choice in get_args(annotation))
    inner = [_choices(kind) for kind in get_args(annotation)]
    return next((choices for choices in inner if choices), ())


def _completion(choices: Collection[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _panel(config: type[BaseModel], name: str) -> str | None:
    """The panel of the class that declares the field, or of one that it redefines it from."""
    for owner in config.__mro__:
        if name in inspect.get_annotations(owner) and "panel" in owner.__dict__:
            return str(owner.__dict__["panel"])
    return getattr(config, "panel", None)


def _help(config: type[BaseModel], name: str, field: FieldInfo, shared: str | None) -> str:
    text = shared or _docstring(config, name)
    if not text:
        raise ValueError(f"{config.__name__}.{name}: write a docstring; it is the option's help")
    default = field.default
    if default is None or default == () or field.is_required():
        return text
    if isinstance(default, bool):
        default = name.replace("_", "-") if default else "no-" + name.replace("_", "-")
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"{text}  [default: {shown}]"


def _docstring(config: type[BaseModel], name: str) -> str:
    """The text below a field, in the class that declares it last."""
    for owner in config.__mro__:
        if name in inspect.get_annotations(owner):
            text = _field_docstrings(owner.__module__).get((owner.__name__, name))
            if text:
                return " ".join(text.replace("`", "").split())
    return ""


@functools.cache
def _field_docstrings(module: str) -> dict[tuple[str, str], str]:
    """(class, field) to the text below it, of all classes of a module.

    Pydantic can collect them too, but reads the file again for each class: a fifth of `--help`.
    """
    path = sys.modules[module].__file__
    tree = ast.parse(Path(path).read_text(encoding="utf-8")) if path else ast.Module([], [])
    found = {}
    for group in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for field, text in itertools.pairwise(group.body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(docstring))),
                ):
                    found[group.name, name] = docstring
    return found
