"""The command ``textgen`` and its subcommands; the work is loaded when one is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hvdcore import options as shared
from hvdcore.command_line import create_app
from hvdcore.options import StartOptions, config_options, takes
from hvdcore.tune.options import tune_options
from textgen import options
from textgen.config import TrainConfig

if TYPE_CHECKING:
    from textgen.evaluation.quality.config import QualityConfig

__all__ = ["app", "main"]

app = create_app(
    "textgen",
    "Train, evaluate and sample decoder-only transformers on books, on Horovod.",
    "textgen",
)


def main() -> None:
    """The entry point of the ``textgen`` command."""
    app()


@app.command()
@takes(config_options(TrainConfig), shared.OUTPUT, shared.START, options.PROFILE)
def train(**flags: Any) -> None:
    """Train a model, on one rank or on many."""
    from hvdcore.config import load_config
    from hvdcore.tracking.tracker.fields import check_tracker

    start = StartOptions.take(flags)
    output_dir, resume, file, profile, show = (
        flags.pop(name) for name in ("output_dir", "resume", "config", "profile", "open")
    )

    def config() -> TrainConfig:
        return load_config(TrainConfig, file, flags)

    def work() -> int:
        from hvdcore.run.live_report import ask_to_open
        from textgen.training.train import train

        if show:
            ask_to_open()
        return train(config(), output_dir, resume or "never", profile)

    def check() -> TrainConfig:
        checked = config()
        check_tracker(checked.tracker)
        return checked

    _run(work, start, output_dir, check=check)


@app.command()
@takes(options.PREPARE, {"config": shared.ConfigFile}, shared.RANKS)
def prepare(**flags: Any) -> None:
    """Read, split and tokenize the data into the cache, on one rank or on many."""
    from hvdcore.config import load_config

    start, file = StartOptions.take(flags), flags.pop("config")

    def config() -> TrainConfig:
        return load_config(TrainConfig, file, flags)

    def work() -> int:
        from textgen.prepare_command import prepare_and_print

        return prepare_and_print(config())

    _run(work, start, check=config)


@app.command()
@takes(
    {"split": shared.Splits}, options.SCORING,
    {"generation": (options.Generation, False)}, options.QUALITY, shared.RANKS,
)  # fmt: skip
def evaluate(model: options.ModelArgument, **flags: Any) -> None:
    """Score a model exactly: loss, perplexity per token and per word, bits per byte. With
    --generation, also measure the quality of the text that it generates."""
    start = StartOptions.take(flags)
    split, generation, stride = (flags.pop(name) for name in ("split", "generation", "stride"))
    scorer, quality = _quality(flags)

    def check() -> QualityConfig | None:
        return quality() if generation else None

    def work() -> int:
        from textgen.evaluation.command import score_model

        return score_model(model, split or ["val", "test"], stride, flags, check(), scorer)

    _run(work, start, check=check)


@app.command()
@takes(options.SAMPLING, shared.RANKS)
def generate(model: options.ModelArgument, **settings: Any) -> None:
    """Generate text from prompts, or without one."""
    start = StartOptions.take(settings)

    def work() -> int:
        from textgen.generation.generate import generate_command

        return generate_command(model, **settings)

    _run(work, start)


@app.command()
@takes(
    {"split": (options.HeldOut, "test")}, options.SCORING, options.QUALITY,
    {"output_dir": shared.OutputDir}, shared.RANKS,
)  # fmt: skip
def compare(models: options.Models, **flags: Any) -> None:
    """Compare several models on the same held-out books, trained here or elsewhere."""
    start = StartOptions.take(flags)
    output_dir, split, stride = (flags.pop(name) for name in ("output_dir", "split", "stride"))
    scorer, quality = _quality(flags)

    def work() -> int:
        from textgen.evaluation.compare.command import compare_models

        return compare_models(models, output_dir, split, stride, flags, quality(), scorer)

    _run(work, start, check=quality)


@app.command()
def export(model: options.ModelArgument, to: options.To, output_dir: shared.OutputDir) -> None:
    """Export a model to a format that other software loads."""
    from textgen.export import export as write

    typer.echo(write(model, to, output_dir))


@app.command()
@takes(tune_options(TrainConfig))
def tune(**flags: Any) -> None:
    """Search for good hyperparameters: many trainings, of which the poor ones stop early."""
    from hvdcore.tune.command import tune_command
    from textgen.search_space import TUNABLE

    raise typer.Exit(tune_command(TUNABLE, flags))


@app.command()
@takes(config_options(TrainConfig), {"np": shared.Np, "config": shared.ConfigFile}, options.PLAN)
def plan(**flags: Any) -> None:
    """Say what a training would take, without running it. With --memory: parameters, gradients,
    optimizer state, activations, logits, communication and checkpoints at the peak of a rank.

    Exit code: 0; 2: wrong options.
    """
    from hvdcore.config import load_config
    from hvdcore.errors import UserError

    np, file, memory, ranks_per_host, as_json = (
        flags.pop(name) for name in ("np", "config", "memory", "ranks_per_host", "as_json")
    )
    if not memory:
        raise UserError(
            "--memory: not given; add it to count memory, or give a run to hvdcore plan to "
            "predict its speed on more ranks"
        )
    config = load_config(TrainConfig, file, flags)
    from textgen.plan_command import plan_memory

    raise typer.Exit(plan_memory(config, np or 1, ranks_per_host, as_json))


@app.command()
def report(runs: shared.Runs, output_dir: shared.OutputDir = None) -> None:
    """Write one HTML page about a run, or about several side by side."""
    from textgen.evaluation.report import report_runs

    typer.echo(report_runs(runs, output_dir))


@app.command()
def models() -> None:
    """List the model presets."""
    from textgen.prepare_command import print_presets

    print_presets()


def _run(
    work: Callable[[], int],
    start: StartOptions,
    output_dir: Path | None = None,
    check: Callable[[], object] | None = None,
) -> None:
    """Run the work of a command on one rank or many, and exit with its code."""
    from hvdcore.launch.launch import run_on_ranks

    code = run_on_ranks("textgen", work, start, output_dir=output_dir, check=check)
    raise typer.Exit(code)


def _quality(flags: dict[str, Any]) -> tuple[str | None, Callable[[], QualityConfig]]:
    """Take the options of generated text out of the flags: the scorer, and the other settings."""
    chosen = {name: flags.pop(name) for name in options.QUALITY}
    scorer = chosen.pop("scorer")

    def config() -> QualityConfig:
        from textgen.evaluation.quality.config import QualityConfig

        return QualityConfig.of(**chosen)

    return scorer, config
