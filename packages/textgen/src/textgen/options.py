"""The options that only textgen has; the shared ones are in ``hvdcore.options``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvdcore.options import REAL, WHOLE

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="One run directory or more.")]

TextColumn = Annotated[
    str | None, typer.Option(help="Column of the text, for Parquet, JSONL and hub data.")
]
NearDuplicateThreshold = Annotated[
    float | None,
    typer.Option(**REAL, help="Similarity from which documents are kept in one part; 1 for none."),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        metavar="byte|bpe|PATH|HUB_ID",
        help="How text becomes tokens; bpe is learned from the data.",
    ),
]
VocabSize = Annotated[int | None, typer.Option(**WHOLE, help="Tokens that bpe learns.")]
ContextLength = Annotated[int | None, typer.Option(**WHOLE, help="Tokens seen at once.")]
NumLayers = Annotated[int | None, typer.Option(**WHOLE, help="Layers, in place of the preset's.")]
NumHeads = Annotated[int | None, typer.Option(**WHOLE, help="Attention heads.")]
NumKvHeads = Annotated[
    int | None, typer.Option(**WHOLE, help="Heads of keys and values; fewer is grouped-query.")
]
EmbedDim = Annotated[int | None, typer.Option(**WHOLE, help="Width of the embedding.")]
MlpDim = Annotated[int | None, typer.Option(**WHOLE, help="Width of the SwiGLU.")]
AttentionEvery = Annotated[
    int | None,
    typer.Option(**WHOLE, help="Each n-th layer attends; the others are short convolutions."),
]
ConvKernel = Annotated[int | None, typer.Option(**WHOLE, help="Tokens a short convolution sees.")]
ValFraction = Annotated[float | None, typer.Option(**REAL, help="Share of the text in val.")]
TestFraction = Annotated[float | None, typer.Option(**REAL, help="Share of the text in test.")]
InitFrom = Annotated[
    str | None,
    typer.Option(metavar="RUN|PATH", help="Start from the weights of a run or a saved model."),
]
Optimizer = Annotated[
    str | None, typer.Option(metavar="muon|adamw", help="How the weights are updated.")
]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--learning-rate-schedule",
        metavar="linear|cosine|constant",
        help="How the learning rate falls after the warm-up.",
    ),
]
WarmupSteps = Annotated[int | None, typer.Option(**WHOLE, help="Steps up to the peak rate.")]
WeightDecay = Annotated[float | None, typer.Option(**REAL, help="Decoupled weight decay.")]
Momentum = Annotated[float | None, typer.Option(**REAL, help="Muon's momentum.")]
TrainTemperature = Annotated[
    float | None,
    typer.Option(
        **REAL, help="Divides the logits in the training loss alone; below 1 tames overconfidence."
    ),
]
ClipNorm = Annotated[float | None, typer.Option(**REAL, help="Largest global gradient norm.")]
PerRankBatchSize = Annotated[
    int | None,
    typer.Option(**WHOLE, help="Sequences a rank computes at once; the rest is accumulated."),
]
Dtype = Annotated[
    str | None,
    typer.Option(metavar="auto|float32|bfloat16", help="Precision of the matrix products."),
]
EvalBatchSize = Annotated[
    int | None, typer.Option(**WHOLE, help="Sequences a rank evaluates at once.")
]
FinalFraction = Annotated[
    float | None,
    typer.Option(
        "--final-learning-rate-fraction", **REAL, help="Share of the peak rate left at the end."
    ),
]
LogEvery = Annotated[
    int | None, typer.Option(**WHOLE, help="Steps from one point of the train curves to the next.")
]
SampleTokens = Annotated[
    int | None, typer.Option(**WHOLE, help="Tokens of sample text at each evaluation.")
]
Prompt = Annotated[
    list[str] | None,
    typer.Option("--prompt", help="Text to go on from; repeatable. '-' reads standard input."),
]
PromptFile = Annotated[
    Path | None, typer.Option(help="File with one prompt a line.", metavar="FILE")
]
Splits = Annotated[
    list[str] | None,
    typer.Option(
        "--split", metavar="train|val|test", help="Part to score; repeatable. Default: val, test."
    ),
]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Tokens to write.")]
NumSamples = Annotated[int, typer.Option(min=1, help="Texts for each prompt.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="Below 1 is tamer, above 1 wilder.")]
TopK = Annotated[int, typer.Option(min=0, help="Keep the k most probable tokens; 0 keeps all.")]
TopP = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Keep the most probable tokens up to this mass.")
]
RepetitionPenalty = Annotated[
    float, typer.Option(min=0.01, help="Above 1 makes tokens that were written less probable.")
]
Greedy = Annotated[bool, typer.Option("--greedy", help="Always the most probable token.")]
SamplingSeed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the sampling.")]
To = Annotated[str, typer.Option(metavar="hf", help="Form: hf, for plain transformers.")]
