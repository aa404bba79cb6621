"""The command ``news-cls`` and its subcommands; the work is loaded when one is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hvdcore import options as shared
from hvdcore.classifier import options as classifier
from hvdcore.command_line import create_app
from hvdcore.options import config_options, takes
from hvdcore.tune.options import tune_options
from news_cls.config import MODELS, SAMPLE_NAMES, DataFields, TrainConfig

__all__ = ["app", "main"]

app = create_app(
    "news-cls",
    "Classify news: an LSTM against a GRU and a 1D CNN, on Horovod.",
    "news_cls",
)

Inputs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE]...", help="Files with one text per line; - is stdin."),
]
Texts = Annotated[
    list[str] | None,
    typer.Option(
        "--text", rich_help_panel="Data", metavar="TEXT", help="A text; may be repeated."
    ),
]  # fmt: skip


def main() -> None:
    """The entry point of the ``news-cls`` command."""
    app()


@app.command()
@takes(config_options(TrainConfig), shared.OUTPUT, shared.START)
def train(**flags: Any) -> None:
    """Train a model, on one rank or on many."""
    from hvdcore.classifier.commands import run_training
    from news_cls.check import check_before_start, check_files

    def work(config: TrainConfig, output_dir: Path | None, resume: str) -> int:
        from news_cls.training.train import train

        return train(config, output_dir, resume)

    code = run_training(
        SAMPLE_NAMES, TrainConfig, flags,
        check_files=check_files, check_data=check_before_start, train=work,
    )  # fmt: skip
    raise typer.Exit(code)


@app.command()
@takes(config_options(DataFields, without=["num_train_texts"]))
def prepare(config: shared.ConfigFile = None, **flags: Any) -> None:
    """Read, clean, check and tokenize the texts into the cache, and print what was found."""
    from hvdcore.config import load_config
    from news_cls.prepare_command import prepare_and_print

    prepare_and_print(load_config(TrainConfig, config, flags))


@app.command()
@takes(
    config_options(DataFields, only=["text_column", "label_column"]),
    {"data": shared.Data, "split": shared.Splits},
    shared.RANKS,
)
def evaluate(run_dir: classifier.RunArgument, **flags: Any) -> None:
    """Compute the exact scores of a trained model: loss, accuracy, macro F1, each class."""
    from hvdcore.classifier.commands import run_evaluation
    from news_cls.check import check_saved_run

    def work(path: Path, splits: Any, changes: dict[str, Any]) -> int:
        from news_cls.training.train import evaluate_run

        return evaluate_run(path, changes, splits)

    raise typer.Exit(
        run_evaluation(SAMPLE_NAMES, run_dir, flags, check=check_saved_run, evaluate=work)
    )


@app.command()
def predict(
    run_dir: classifier.RunArgument,
    inputs: Inputs = None,
    text: Texts = None,
    output_format: classifier.Format = "jsonl",
    output: classifier.Output = None,
    spreadsheet: classifier.Spreadsheet = False,
) -> None:
    """Predict the class of texts, with the probability of each class."""
    from news_cls.predict import predict_command

    predict_command(run_dir, inputs or [], text or [], output_format, output, spreadsheet)


@app.command()
@takes(tune_options(TrainConfig))
def tune(**flags: Any) -> None:
    """Search for good hyperparameters: many trainings, of which the poor ones stop early."""
    from hvdcore.tune.command import tune_command
    from news_cls.search_space import TUNABLE

    raise typer.Exit(tune_command(TUNABLE, flags))


@app.command()
def report(runs: shared.Runs, output_dir: shared.OutputDir = None) -> None:
    """Write one HTML page about a run, or about several side by side."""
    from hvdcore.classifier.commands import write_report_page

    typer.echo(write_report_page(SAMPLE_NAMES, runs, output_dir))


@app.command()
@takes(classifier.compare_options(TrainConfig, "num_train_texts"))
def compare(
    models: classifier.Models = "lstm,gru,cnn,tfidf", np: classifier.Sizes = "1,2", **flags: Any
) -> None:
    """Train several models on several numbers of ranks, and compare accuracy and speed."""
    from hvdcore.classifier.compare import compare_command
    from news_cls.check import check_before_start

    output_dir = flags.pop("output_dir")
    code = compare_command(
        TrainConfig, SAMPLE_NAMES, MODELS, check_before_start, models, np, output_dir, flags
    )
    raise typer.Exit(code)
