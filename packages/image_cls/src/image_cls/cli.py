"""The command ``image-cls``: verbs and their options; the work is loaded when it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hvdcore import options as shared
from hvdcore.classifier import options as classifier
from hvdcore.errors import exit_on_user_error
from hvdcore.options import takes
from hvdcore.tune import options as tuning
from image_cls import options

if TYPE_CHECKING:
    from image_cls.config import TrainConfig

app = typer.Typer(
    name="image-cls",
    help="Classify scenes: a CNN against logistic regression and a shallow MLP, on Horovod.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help costs a third of the time of the framed one.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The entry point of the ``image-cls`` command."""
    app()


@app.command()
@exit_on_user_error
@takes(
    shared.TRAIN,
    {"image_size": options.ImageSize},
    classifier.SPLIT,
    options.PICTURES,
    classifier.TRAINING,
)
def train(**flags: Any) -> None:
    """Train a model, on one rank or on many."""
    start = shared.StartOptions.take(flags)
    output_dir, resume, config = (flags.pop(name) for name in ("output_dir", "resume", "config"))

    def settings() -> TrainConfig:
        from hvdcore.config import load_config
        from image_cls.config import TrainConfig

        return load_config(TrainConfig, config, flags)

    def check() -> TrainConfig:
        from image_cls.check import check_places

        config = settings()
        check_places(output_dir, resume or "never")
        if start.needs_launcher:
            # One rank alone checks as it begins. Here it would load NumPy, and then the process
            # could no longer start again with the threads and the malloc that it needs.
            from image_cls.check import check_before_start

            check_before_start(config, start.np)
        return config

    def work() -> int:
        from image_cls.train import train

        return train(settings(), output_dir, resume or "never")

    run(work, start, output_dir, check=check)


def run(
    work: Callable[[], int],
    start: shared.StartOptions,
    output_dir: Path | None = None,
    check: Callable[[], object] | None = None,
) -> None:
    """Do a verb's work on one rank or many, and exit with its code."""
    from hvdcore.launch.launch import run_on_ranks

    code = run_on_ranks("image_cls", work, start, output_dir=output_dir, check=check)
    raise typer.Exit(code)


@app.command()
@exit_on_user_error
@takes(classifier.SPLIT)
def prepare(
    data: shared.Data = None,
    config: shared.ConfigFile = None,
    image_size: options.ImageSize = None,
    **flags: Any,
) -> None:
    """Decode, check and resize the pictures into the cache, and say what was found."""
    from hvdcore.config import load_config
    from image_cls.config import TrainConfig
    from image_cls.prepare_command import prepare_and_show

    prepare_and_show(
        load_config(TrainConfig, config, {"data": data, "image_size": image_size, **flags})
    )


@app.command()
@exit_on_user_error
@takes({"data": shared.Data}, shared.RANKS, {"split": classifier.Splits})
def evaluate(run_dir: classifier.RunArgument, **flags: Any) -> None:
    """Score a trained model exactly: loss, accuracy, macro F1, each class."""
    start = shared.StartOptions.take(flags)
    data, splits = flags["data"], flags["split"] or ["val", "test"]

    def check() -> TrainConfig:
        from hvdcore.classifier.preflight import check_evaluation

        check_evaluation(run_dir, splits)

    def work() -> int:
        from image_cls.train import score_run

        return score_run(run_dir, data, splits)

    run(work, start, check=check)


@app.command()
@exit_on_user_error
def predict(
    run_dir: classifier.RunArgument,
    inputs: options.Inputs,
    form: classifier.Format = "csv",
    output: classifier.Output = None,
) -> None:
    """Name the class of pictures, with the probability of each class."""
    from image_cls.predict import predict_command

    predict_command(run_dir, inputs, form, output)


@app.command()
@exit_on_user_error
@takes(tuning.TUNE)
def tune(**flags: Any) -> None:
    """Search for good settings: many trainings, the poor ones stopped early."""
    from hvdcore.tune.command import tune_command
    from image_cls.search_space import TUNABLE

    raise typer.Exit(tune_command(TUNABLE, flags))


@app.command()
@exit_on_user_error
def report(runs: classifier.Runs, output_dir: shared.OutputDir = None) -> None:
    """Write one page about a run, or about several side by side."""
    from image_cls.plots import report_runs

    typer.echo(report_runs(runs, output_dir))


@app.command()
@exit_on_user_error
@takes(classifier.COMPARE, {"image_size": options.ImageSize})
def compare(
    models: classifier.Models = "logreg,mlp,cnn", np: classifier.Sizes = "1,2", **flags: Any
) -> None:
    """Train several models on several numbers of ranks: what does distribution buy?"""
    output_dir = flags.pop("output_dir")

    from hvdcore.classifier.compare import compare_command
    from image_cls.check import check_before_start
    from image_cls.config import MODELS, WORDS, TrainConfig

    code = compare_command(
        TrainConfig, WORDS, MODELS, check_before_start, models, np, output_dir, flags
    )
    raise typer.Exit(code)
