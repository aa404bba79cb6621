"""The options of the verbs that read a model; those of trainings are in `textgen.options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvdcore.options import WHOLE
from textgen.options import EvalBatchSize, TestFraction, TextColumn, ValFraction

ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A run directory, a folder with a model, or a hub id such as gpt2."
    ),
]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="One run directory or more.")]
Prompt = Annotated[
    list[str] | None,
    typer.Option("--prompt", help="Text to go on from; repeatable. '-' reads standard input."),
]
PromptFile = Annotated[
    Path | None, typer.Option(help="File with one prompt a line.", metavar="FILE")
]
WindowLength = Annotated[
    int | None,
    typer.Option(
        "--context-length",
        **WHOLE,
        help="Tokens in a window. Default: as trained; for other models, up to 1024.",
    ),
]
Stride = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Tokens that a window moves by; only what is new in it is scored. Default: its "
        "length, so that windows do not overlap.",
    ),
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
To = Annotated[
    str,
    typer.Option(metavar="hf|onnx", help="Form: for plain transformers, or for ONNX Runtime."),
]
Generation = Annotated[
    bool, typer.Option("--generation", help="Also judge what the model writes from prompts.")
]
NumPrompts = Annotated[
    int, typer.Option(help="Prompts cut from the held-out books, two or more.", metavar="N")
]
PromptWords = Annotated[int, typer.Option(help="Words of each prompt.", metavar="N")]
ContinuationWords = Annotated[
    int, typer.Option(help="Words that are judged of each text.", metavar="N")
]
Decodings = Annotated[
    list[str] | None,
    typer.Option(
        "--decoding",
        metavar="greedy|temperature=T|top-k=K|top-p=P",
        help="How text is written; repeatable. Default: greedy, temperature=0.8, top-k=50, "
        "top-p=0.95.",
    ),
]
Scorer = Annotated[
    str | None,
    typer.Option(metavar="RUN|MODEL", help="Model that judges. Default: the model itself."),
]
JudgeSeed = Annotated[
    int, typer.Option("--seed", min=0, help="Seed of prompts, sampling and intervals.")
]
Models = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Runs, folders with a model, or hub ids."),
]
HeldOut = Annotated[
    str, typer.Option("--split", metavar="val|test", help="Part that models are compared on.")
]

SCORING = {
    "context_length": WindowLength,
    "stride": Stride,
    "val_fraction": ValFraction,
    "test_fraction": TestFraction,
    "text_column": TextColumn,
    "eval_batch_size": EvalBatchSize,
}
"""What a model is scored on, and in which windows."""
JUDGING = {
    "num_prompts": (NumPrompts, 64),
    "prompt_words": (PromptWords, 32),
    "continuation_words": (ContinuationWords, 64),
    "decoding": Decodings,
    "scorer": Scorer,
    "seed": (JudgeSeed, 0),
}
"""How text is judged."""
SAMPLING = {
    "prompt": Prompt,
    "prompt_file": PromptFile,
    "max_new_tokens": (MaxNewTokens, 200),
    "num_samples": (NumSamples, 1),
    "temperature": (Temperature, 0.8),
    "top_k": (TopK, 50),
    "top_p": (TopP, 1.0),
    "repetition_penalty": (RepetitionPenalty, 1.0),
    "greedy": (Greedy, False),
    "seed": (SamplingSeed, 0),
}
"""What is written, and how."""
