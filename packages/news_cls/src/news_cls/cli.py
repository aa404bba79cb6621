"""The command ``news-cls``: verbs and their options; the work is loaded when it is called."""

from __future__ import annotations

import typer

from hvdcore import options as shared
from hvdcore.errors import exit_on_user_error
from news_cls import options

app = typer.Typer(
    name="news-cls",
    help="Classify news: an LSTM against a GRU and a 1D CNN, on Horovod.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help costs a third of the time of the framed one.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def verbs() -> None:
    """Classify news: an LSTM against a GRU and a 1D CNN, on Horovod."""


def main() -> None:
    """The entry point of the ``news-cls`` command."""
    app()


@app.command()
@exit_on_user_error
def prepare(
    data: shared.Data = None,
    config: shared.ConfigFile = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    val_fraction: options.ValFraction = None,
    test_fraction: options.TestFraction = None,
    vocab_size: options.VocabSize = None,
    max_length: options.MaxLength = None,
) -> None:
    """Read, clean, check and number the texts into the cache, and say what was found."""
    flags = {**locals()}
    del flags["config"]

    from hvdcore.config import load_config
    from news_cls.config import PrepareConfig
    from news_cls.show import prepare_and_show

    prepare_and_show(load_config(PrepareConfig, config, flags))
