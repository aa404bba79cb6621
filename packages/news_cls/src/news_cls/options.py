"""The options that only news_cls has; the shared ones are in ``hvdcore.options``."""

from __future__ import annotations

from typing import Annotated

import typer

from hvdcore.options import REAL, WHOLE

TextColumn = Annotated[
    str | None,
    typer.Option("--text-column", metavar="NAME,...", help="Columns that make the text."),
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", metavar="NAME", help="Column with the class.")
]
ValFraction = Annotated[float | None, typer.Option(**REAL, help="Share of train for val.")]
TestFraction = Annotated[
    float | None, typer.Option(**REAL, help="Share for test, where the data brings none.")
]
VocabSize = Annotated[
    int | None, typer.Option(**WHOLE, help="Ids: frequent tokens of train, padding, unknown.")
]
MaxLength = Annotated[int | None, typer.Option(**WHOLE, help="Tokens kept of a text.")]
