"""The command-line options of all classifiers that are not fields of their configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvdcore.classifier.config import ClassifierConfig
from hvdcore.options import ConfigFile, OptionGroup, OutputDir, config_options

__all__ = [
    "Format",
    "Models",
    "Output",
    "RunArgument",
    "Sizes",
    "Spreadsheet",
    "compare_options",
]

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Format = Annotated[
    str,
    typer.Option(
        "--format", rich_help_panel="Output", metavar="csv|json|jsonl",
        help="Format of the predictions.",
    ),
]  # fmt: skip
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        rich_help_panel="Output",
        metavar="FILE",
        help="File to write instead of stdout.",
    ),
]
Spreadsheet = Annotated[
    bool,
    typer.Option(
        "--spreadsheet", rich_help_panel="Output",
        help="Put an apostrophe before cells that a spreadsheet would compute: = + - @.",
    ),
]  # fmt: skip
Models = Annotated[
    str,
    typer.Option(
        "--models", rich_help_panel="Model", metavar="NAME,...", help="Models to compare."
    ),
]
Sizes = Annotated[
    str,
    typer.Option(
        "--np", rich_help_panel="Ranks and hosts", metavar="N,...",
        help="Numbers of ranks to compare.",
    ),
]  # fmt: skip

SHARED_BY_A_COMPARISON = ("data", "epochs", "max_steps", "global_batch_size", "seed")


def compare_options(config: type[ClassifierConfig], *fields: str) -> OptionGroup:
    """The options of ``compare``: what all of its trainings share.

    Args:
        fields: further fields of the configuration.
    """
    options = config_options(config, only=(*SHARED_BY_A_COMPARISON, *fields))
    return {**options, "output_dir": OutputDir, "config": ConfigFile}
