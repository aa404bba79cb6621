"""The command ``image-cls`` and its subcommands; the work is loaded when one is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hvdcore import options as shared
from hvdcore.classifier import options as classifier
from hvdcore.command_line import create_app
from hvdcore.options import config_options, takes
from hvdcore.tune.options import tune_options
from image_cls.config import MODELS, SAMPLE_NAMES, DataFields, TrainConfig

__all__ = ["app", "main"]

app = create_app(
    "image-cls",
    "Classify images: a CNN against logistic regression and a shallow MLP, on Horovod.",
    "image_cls",
)

Inputs = Annotated[
    list[Path], typer.Argument(metavar="INPUT...", help="Images, or folders of images.")
]


def main() -> None:
    """The entry point of the ``image-cls`` command."""
    app()


@app.command()
@takes(config_options(TrainConfig), shared.OUTPUT, shared.START)
def train(**flags: Any) -> None:
    """Train a model, on one rank or on many."""
    from hvdcore.classifier.commands import run_training
    from image_cls.check import check_before_start

    def work(config: TrainConfig, output_dir: Path | None, resume: str) -> int:
        from image_cls.train import train

        return train(config, output_dir, resume)

    raise typer.Exit(
        run_training(SAMPLE_NAMES, TrainConfig, flags, check_data=check_before_start, train=work)
    )


@app.command()
@takes(config_options(DataFields, without=["num_train_images"]))
def prepare(config: shared.ConfigFile = None, **flags: Any) -> None:
    """Decode, check and resize the images into the cache, and print what was found."""
    from hvdcore.config import load_config
    from image_cls.prepare_command import prepare_and_print

    prepare_and_print(load_config(TrainConfig, config, flags))


@app.command()
@takes({"data": shared.Data}, shared.RANKS, {"split": shared.Splits})
def evaluate(run_dir: classifier.RunArgument, **flags: Any) -> None:
    """Compute the exact scores of a trained model: loss, accuracy, macro F1, each class."""
    from hvdcore.classifier.commands import run_evaluation
    from hvdcore.classifier.preflight import check_evaluation

    def work(path: Path, splits: Any, changes: dict[str, Any]) -> int:
        from image_cls.train import evaluate_run

        return evaluate_run(path, changes, splits)

    raise typer.Exit(
        run_evaluation(SAMPLE_NAMES, run_dir, flags, check=check_evaluation, evaluate=work)
    )


@app.command()
def predict(
    run_dir: classifier.RunArgument,
    inputs: Inputs,
    output_format: classifier.Format = "csv",
    output: classifier.Output = None,
    spreadsheet: classifier.Spreadsheet = False,
) -> None:
    """Predict the class of images, with the probability of each class."""
    from image_cls.predict import predict_command

    predict_command(run_dir, inputs, output_format, output, spreadsheet)


@app.command()
@takes(tune_options(TrainConfig))
def tune(**flags: Any) -> None:
    """Search for good hyperparameters: many trainings, of which the poor ones stop early."""
    from hvdcore.tune.command import tune_command
    from image_cls.search_space import TUNABLE

    raise typer.Exit(tune_command(TUNABLE, flags))


@app.command()
def report(runs: shared.Runs, output_dir: shared.OutputDir = None) -> None:
    """Write one HTML page about a run, or about several side by side."""
    from hvdcore.classifier.commands import write_report_page

    typer.echo(write_report_page(SAMPLE_NAMES, runs, output_dir))


@app.command()
@takes(classifier.compare_options(TrainConfig, "image_size"))
def compare(
    models: classifier.Models = "logreg,mlp,cnn", np: classifier.Sizes = "1,2", **flags: Any
) -> None:
    """Train several models on several numbers of ranks, and compare accuracy and speed."""
    from hvdcore.classifier.compare import compare_command
    from image_cls.check import check_before_start

    output_dir = flags.pop("output_dir")
    code = compare_command(
        TrainConfig, SAMPLE_NAMES, MODELS, check_before_start, models, np, output_dir, flags
    )
    raise typer.Exit(code)
