"""The command ``news-cls``: verbs and their options; the work is loaded when it is called."""

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
from news_cls import options

if TYPE_CHECKING:
    from news_cls.config import TrainConfig

app = typer.Typer(
    name="news-cls",
    help="Classify news: an LSTM against a GRU and a 1D CNN, on Horovod.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help costs a third of the time of the framed one.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The entry point of the ``news-cls`` command."""
    app()


@app.command()
@exit_on_user_error
@takes(
    shared.TRAIN,
    options.COLUMNS,
    classifier.SPLIT,
    {"num_train_texts": options.NumTrainTexts},
    options.TOKENS,
    options.NETWORK,
    classifier.TRAINING,
)
def train(**flags: Any) -> None:
    """Train a model, on one rank or on many."""
    start = shared.StartOptions.take(flags)
    output_dir, resume, config = (flags.pop(name) for name in ("output_dir", "resume", "config"))

    def settings() -> TrainConfig:
        from hvdcore.config import load_config
        from news_cls.config import TrainConfig

        return load_config(TrainConfig, config, flags)

    def check() -> TrainConfig:
        from news_cls.check import check_places

        config = settings()
        check_places(config, output_dir, resume or "never")
        if start.needs_launcher:
            # One rank alone checks as it begins. Here it would load NumPy, and then the process
            # could no longer start again with the threads and the malloc that it needs.
            from news_cls.check import check_before_start

            check_before_start(config, start.np)
        return config

    def work() -> int:
        from news_cls.training.train import train

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

    code = run_on_ranks("news_cls", work, start, output_dir=output_dir, check=check)
    raise typer.Exit(code)


@app.command()
@exit_on_user_error
@takes(options.COLUMNS, classifier.SPLIT, options.TOKENS)
def prepare(data: shared.Data = None, config: shared.ConfigFile = None, **flags: Any) -> None:
    """Read, clean, check and number the texts into the cache, and say what was found."""
    from hvdcore.config import load_config
    from news_cls.config import TrainConfig
    from news_cls.prepare_command import prepare_and_show

    prepare_and_show(load_config(TrainConfig, config, {"data": data, **flags}))


@app.command()
@exit_on_user_error
@takes({"data": shared.Data}, shared.RANKS, {"split": classifier.Splits}, options.COLUMNS)
def evaluate(run_dir: classifier.RunArgument, **flags: Any) -> None:
    """Score a trained model exactly: loss, accuracy, macro F1, each class."""
    start = shared.StartOptions.take(flags)
    splits = flags.pop("split") or ["val", "test"]
    changes = {name: value for name, value in flags.items() if value is not None}

    def check() -> TrainConfig:
        from news_cls.check import check_saved_run

        check_saved_run(run_dir, splits)

    def work() -> int:
        from news_cls.training.train import score_run

        return score_run(run_dir, changes, splits)

    run(work, start, check=check)


@app.command()
@exit_on_user_error
def predict(
    run_dir: classifier.RunArgument,
    inputs: options.Inputs = None,
    text: options.Texts = None,
    form: classifier.Format = "jsonl",
    output: classifier.Output = None,
) -> None:
    """Name the class of texts, with the probability of each class."""
    from news_cls.predict import predict_command

    predict_command(run_dir, inputs or [], text or [], form, output)


@app.command()
@exit_on_user_error
def report(runs: classifier.Runs, output_dir: shared.OutputDir = None) -> None:
    """Write one page about a run, or about several side by side."""
    from news_cls.training.task import report_runs

    typer.echo(report_runs(runs, output_dir))


@app.command()
@exit_on_user_error
@takes(classifier.COMPARE, {"num_train_texts": options.NumTrainTexts})
def compare(
    models: classifier.Models = "lstm,gru,cnn,tfidf", np: classifier.Sizes = "1,2", **flags: Any
) -> None:
    """Train several models on several numbers of ranks: what does distribution buy?"""
    output_dir = flags.pop("output_dir")

    from hvdcore.classifier.compare import compare_command
    from news_cls.check import check_before_start
    from news_cls.config import MODELS, WORDS, TrainConfig

    code = compare_command(
        TrainConfig, WORDS, MODELS, check_before_start, models, np, output_dir, flags
    )
    raise typer.Exit(code)


@app.command()
@exit_on_user_error
@takes(tuning.TUNE)
def tune(**flags: Any) -> None:
    """Search for good settings: many trainings, the poor ones stopped early."""
    from hvdcore.tune.command import tune_command
    from news_cls.search_space import TUNABLE

    raise typer.Exit(tune_command(TUNABLE, flags))
