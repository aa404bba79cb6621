"""The options that only news_cls has; the shared ones are in ``hvdcore.options``."""

from __future__ import annotations

from pathlib import Path
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
VocabSize = Annotated[
    int | None, typer.Option(**WHOLE, help="Ids: frequent tokens of train, padding, unknown.")
]
MaxLength = Annotated[int | None, typer.Option(**WHOLE, help="Tokens kept of a text.")]
NumTrainTexts = Annotated[
    int | None, typer.Option(**WHOLE, help="Train on so many texts only, classes alike.")
]
Vectors = Annotated[
    str | None,
    typer.Option(metavar="ppmi|random|FILE", help="Where the word vectors start."),
]
EmbedDim = Annotated[int | None, typer.Option(**WHOLE, help="Numbers of a word vector.")]
HiddenDim = Annotated[
    int | None, typer.Option(**WHOLE, help="Units of a recurrent layer in each direction.")
]
ConvDim = Annotated[
    int | None, typer.Option(**WHOLE, help="Filters of each width; beside lstm and gru, 0 is none.")
]
NgramBuckets = Annotated[
    int | None, typer.Option(**WHOLE, help="Rows of the table of hashed word pairs; 0 is none.")
]
WordDropout = Annotated[float | None, typer.Option(**REAL, help="Probability of an unknown word.")]
EmbedDropout = Annotated[
    float | None, typer.Option(**REAL, help="Probability of leaving out a number of the vectors.")
]
FeatureDropout = Annotated[
    float | None, typer.Option(**REAL, help="Probability of leaving out a pooled feature.")
]
PretrainEpochs = Annotated[
    int | None, typer.Option(**WHOLE, help="Passes that foretell words, before the classes.")
]
Inputs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE]...", help="Files with a text on each line; - is stdin."),
]
Texts = Annotated[
    list[str] | None, typer.Option("--text", metavar="TEXT", help="A text itself; repeatable.")
]

COLUMNS = {"text_column": TextColumn, "label_column": LabelColumn}
"""Where a table has text and class."""
TOKENS = {"vocab_size": VocabSize, "max_length": MaxLength}
"""How texts become ids."""
NETWORK = {
    "vectors": Vectors,
    "embed_dim": EmbedDim,
    "hidden_dim": HiddenDim,
    "conv_dim": ConvDim,
    "ngram_buckets": NgramBuckets,
    "word_dropout": WordDropout,
    "embed_dropout": EmbedDropout,
    "feature_dropout": FeatureDropout,
    "pretrain_epochs": PretrainEpochs,
}
"""The model, and what keeps it from learning texts by heart."""
