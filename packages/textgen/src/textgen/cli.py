"""The command ``textgen``: verbs and their options; the work is loaded when it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hvdcore import options as shared
from hvdcore.errors import exit_on_user_error
from hvdcore.options import takes
from hvdcore.tune import command as tuning
from textgen import options

if TYPE_CHECKING:
    from textgen.config import TrainConfig
    from textgen.evaluation.quality.config import JudgeConfig

app = typer.Typer(
    name="textgen",
    help="Train, evaluate and sample a decoder-only transformer on books, on Horovod.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help costs a third of the time of the framed one.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The entry point of the ``textgen`` command."""
    app()


@app.command()
@exit_on_user_error
@takes(
    shared.TRAIN,
    options.TOKENS,
    options.NETWORK,
    options.PARTS,
    options.DUPLICATES,
    options.FINE_TUNING,
    options.TRAINING,
)
def train(**flags: Any) -> None:
    """Train a model, on one rank or on many."""
    start = shared.StartOptions.take(flags)
    output_dir, resume, config, profile = (
        flags.pop(name) for name in ("output_dir", "resume", "config", "profile")
    )

    def settings() -> TrainConfig:
        from hvdcore.config import load_config
        from textgen.config import TrainConfig

        return load_config(TrainConfig, config, flags)

    def work() -> int:
        from textgen.training.train import train

        return train(settings(), output_dir, resume or "never", profile)

    run(work, start, output_dir, check=settings)


def run(
    work: Callable[[], int],
    start: shared.StartOptions,
    output_dir: Path | None = None,
    check: Callable[[], object] | None = None,
) -> None:
    """Do a verb's work on one rank or many, and exit with its code."""
    from hvdcore.launch.launch import run_on_ranks

    code = run_on_ranks("textgen", work, start, output_dir=output_dir, check=check)
    raise typer.Exit(code)


@app.command()
@exit_on_user_error
@takes(
    {"data": shared.Data},
    shared.RANKS,
    {"config": shared.ConfigFile},
    options.TOKENS,
    options.PARTS,
    options.DUPLICATES,
)
def prepare(**flags: Any) -> None:
    """Read, split and tokenize the data into the cache, on one rank or on many."""
    start, config = shared.StartOptions.take(flags), flags.pop("config")

    def settings() -> TrainConfig:
        from hvdcore.config import load_config
        from textgen.config import TrainConfig

        return load_config(TrainConfig, config, flags)

    def work() -> int:
        from textgen.prepare_command import prepare_and_show

        return prepare_and_show(settings())

    run(work, start, check=settings)


def judge_config(judging: dict[str, Any]) -> JudgeConfig:
    """How text is judged, as the flags of `evaluate` and `compare` say it."""
    from textgen.evaluation.quality.config import JudgeConfig

    return JudgeConfig.of(**judging)


def taken_out(
    flags: dict[str, Any],
) -> tuple[shared.StartOptions, int | None, dict[str, Any], str | None]:
    """Take out of the flags of `evaluate` and `compare` what is no field of a configuration:
    where the ranks run, the stride, how text is judged, and by which model."""
    start = shared.StartOptions.take(flags)
    judging = {name: flags.pop(name) for name in options.JUDGING}
    scorer = judging.pop("scorer")
    return start, flags.pop("stride"), judging, scorer


@app.command()
@exit_on_user_error
@takes(
    {"data": shared.Data},
    shared.RANKS,
    {"split": options.Splits},
    options.SCORING,
    {"generation": (options.Generation, False)},
    options.JUDGING,
)
def evaluate(model: options.ModelArgument, **flags: Any) -> None:
    """Score a model exactly: loss, perplexity by token and by word, bits per byte. With
    --generation, judge what it writes."""
    start, stride, judging, scorer = taken_out(flags)
    split, generation = flags.pop("split"), flags.pop("generation")

    def judge() -> JudgeConfig | None:
        return judge_config(judging) if generation else None

    def work() -> int:
        from textgen.evaluation.command import score_model

        return score_model(model, split or ["val", "test"], stride, flags, judge(), scorer)

    run(work, start, check=judge)


@app.command()
@exit_on_user_error
@takes(shared.RANKS, options.SAMPLING)
def generate(model: options.ModelArgument, **settings: Any) -> None:
    """Let a model go on from a prompt, or write from an empty page."""
    start = shared.StartOptions.take(settings)

    def work() -> int:
        from textgen.generation.generate import generate_command

        return generate_command(model, **settings)

    run(work, start)


@app.command()
@exit_on_user_error
@takes(
    {"data": shared.Data, "output_dir": shared.OutputDir},
    shared.RANKS,
    {"split": (options.HeldOut, "test")},
    options.SCORING,
    options.JUDGING,
)
def compare(models: options.Models, **flags: Any) -> None:
    """Put several models side by side on the same held-out books, trained here or elsewhere."""
    start, stride, judging, scorer = taken_out(flags)
    output_dir, split = flags.pop("output_dir"), flags.pop("split")

    def judge() -> JudgeConfig:
        return judge_config(judging)

    def work() -> int:
        from textgen.evaluation.compare.command import compare_models

        return compare_models(models, output_dir, split, stride, flags, judge(), scorer)

    run(work, start, check=judge)


@app.command()
@exit_on_user_error
def export(model: options.ModelArgument, to: options.To, output_dir: shared.OutputDir) -> None:
    """Write the model in a form that other software loads."""
    from textgen.export import export as write

    typer.echo(write(model, to, output_dir))


@app.command()
@exit_on_user_error
@takes(tuning.TUNE)
def tune(**flags: Any) -> None:
    """Search for good settings: many trainings, the poor ones stopped early."""
    from hvdcore.tune.command import tune_command
    from textgen.search_space import TUNABLE

    raise typer.Exit(tune_command(TUNABLE, flags))


@app.command()
@exit_on_user_error
def report(runs: options.Runs, output_dir: shared.OutputDir = None) -> None:
    """Write one page about a run, or about several side by side."""
    from textgen.evaluation.report import report_runs

    typer.echo(report_runs(runs, output_dir))


@app.command()
def models() -> None:
    """List the model presets."""
    from textgen.prepare_command import show_models

    show_models()
