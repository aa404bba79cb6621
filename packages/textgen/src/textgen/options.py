"""The command-line options of textgen that are not fields of its configuration."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Annotated, get_args

import typer

from hvdcore.options import OptionGroup, config_options
from textgen.config import TrainConfig

__all__ = [
    "PLAN",
    "PREPARE",
    "PROFILE",
    "QUALITY",
    "SAMPLING",
    "SCORING",
    "Generation",
    "HeldOut",
    "ModelArgument",
    "Models",
    "To",
]

_DATA = {"rich_help_panel": "Data"}
_MODEL = {"rich_help_panel": "Model"}
_OUTPUT = {"rich_help_panel": "Output"}
_RANKS = {"rich_help_panel": "Ranks and hosts"}
_QUALITY = {"rich_help_panel": "Quality of generated text"}
_MAX_COUNT = 10_000_000
_SAMPLING = {"rich_help_panel": "Sampling"}

ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A run directory, a folder with a model, or a hub id such as gpt2."
    ),
]
Models = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Runs, folders with a model, or hub ids."),
]
HeldOut = Annotated[
    str, typer.Option("--split", **_DATA, metavar="val|test", help="Split to compare models on.")
]
Stride = Annotated[
    int | None,
    typer.Option(
        **_DATA, min=1,
        help="Tokens between the starts of two windows; only new tokens are scored. Default: the"
        " context length, so that windows do not overlap.",
    ),
]  # fmt: skip
To = Annotated[
    str,
    typer.Option(
        **_OUTPUT, metavar="hf|onnx", help="Format: for plain transformers, or for ONNX Runtime."
    ),
]
Profile = Annotated[
    bool,
    typer.Option(
        "--profile", **_OUTPUT, help="Trace a few steps of each rank to the run's profile/."
    ),
]
Memory = Annotated[
    bool,
    typer.Option(
        "--memory", **_OUTPUT, help="Count the memory at the peak of a rank, before the run."
    ),
]
RanksPerHost = Annotated[
    int | None,
    typer.Option(
        **_RANKS, min=1, metavar="N", help="Ranks on each host. Default: all on one host."
    ),
]  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", **_OUTPUT, help="Print JSON, in bytes.")]
PromptText = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt", **_SAMPLING, metavar="TEXT",
        help="Text to continue; may be repeated. '-' reads standard input.",
    ),
]  # fmt: skip
PromptFile = Annotated[
    Path | None,
    typer.Option(**_SAMPLING, metavar="FILE", help="File with one prompt per line."),
]
MaxNewTokens = Annotated[
    int, typer.Option(**_SAMPLING, min=1, max=_MAX_COUNT, help="Tokens to generate.")
]
NumSamples = Annotated[
    int, typer.Option(**_SAMPLING, min=1, max=_MAX_COUNT, help="Texts per prompt.")
]
Temperature = Annotated[
    float,
    typer.Option(**_SAMPLING, min=0.0, help="Temperature of the softmax; 0 is greedy."),
]
TopK = Annotated[
    int, typer.Option(**_SAMPLING, min=0, help="Keep the k most probable tokens; 0 keeps all.")
]
TopP = Annotated[
    float,
    typer.Option(
        **_SAMPLING, min=0.0, max=1.0,
        help="Keep the smallest set of most probable tokens with at least this probability.",
    ),
]  # fmt: skip
RepetitionPenalty = Annotated[
    float,
    typer.Option(
        **_SAMPLING, min=0.01, help="Above 1, tokens that occurred before become less probable."
    ),
]
Greedy = Annotated[
    bool, typer.Option("--greedy", **_SAMPLING, help="Always take the most probable token.")
]
SamplingSeed = Annotated[
    int, typer.Option("--seed", **_SAMPLING, min=0, help="Seed of the sampling.")
]
WeightDtype = Annotated[
    str,
    typer.Option(
        **_SAMPLING, metavar="float32|int8",
        help="int8: round the weights to 8 bits, on the CPU: models of 10 million parameters and "
        "more are up to twice as fast, and their texts differ.",
    ),
]  # fmt: skip
Generation = Annotated[
    bool,
    typer.Option(
        "--generation", **_QUALITY, help="Also measure the quality of generated continuations."
    ),
]
NumPrompts = Annotated[
    int,
    typer.Option(**_QUALITY, metavar="N", help="Prompts, cut from held-out books; two or more."),
]
PromptWords = Annotated[int, typer.Option(**_QUALITY, metavar="N", help="Words per prompt.")]
ContinuationWords = Annotated[
    int, typer.Option(**_QUALITY, metavar="N", help="Words per continuation.")
]
Decodings = Annotated[
    list[str] | None,
    typer.Option(
        "--decoding", **_QUALITY, metavar="greedy|temperature=T|top-k=K|top-p=P",
        help="Decoding method; may be repeated. Default: greedy, temperature=0.8, top-k=50 and"
        " top-p=0.95.",
    ),
]  # fmt: skip
Scorer = Annotated[
    str | None,
    typer.Option(
        **_QUALITY, metavar="RUN|PATH|HUB_ID",
        help="Model that scores the texts. Default: evaluate: the model itself; compare: the one"
        " with the fewest bits per byte.",
    ),
]  # fmt: skip
QualitySeed = Annotated[
    int,
    typer.Option("--seed", **_QUALITY, min=0, help="Seed of prompts, sampling and intervals."),
]


def _as_trained(group: OptionGroup) -> OptionGroup:
    """The options of fields that default to those of the run that is evaluated."""
    changed = {}
    for name, option in group.items():
        kind, info = get_args(option)
        info = copy.copy(info)
        info.help = f"{info.help.partition('  [default: ')[0]} Default: as in training."
        changed[name] = Annotated[kind, info]
    return changed


SCORING = {
    **_as_trained(
        config_options(
            TrainConfig,
            ["data", "text_column", "val_fraction", "test_fraction", "context_length",
             "eval_batch_size"],
        )
    ),
    "stride": Stride,
}  # fmt: skip
"""What a model is scored on, and in which windows."""
PREPARE = config_options(
    TrainConfig,
    ["data", "text_column", "near_duplicate_threshold", "tokenizer", "vocab_size",
     "context_length", "val_fraction", "test_fraction"],
)  # fmt: skip
"""Which documents are read, and how they become tokens."""
QUALITY = {
    "num_prompts": (NumPrompts, 64),
    "prompt_words": (PromptWords, 32),
    "continuation_words": (ContinuationWords, 64),
    "decoding": Decodings,
    "scorer": Scorer,
    "seed": (QualitySeed, 0),
}
"""How the quality of generated text is measured."""
SAMPLING = {
    "prompt": PromptText,
    "prompt_file": PromptFile,
    "max_new_tokens": (MaxNewTokens, 200),
    "num_samples": (NumSamples, 1),
    "temperature": (Temperature, 0.8),
    "top_k": (TopK, 50),
    "top_p": (TopP, 1.0),
    "repetition_penalty": (RepetitionPenalty, 1.0),
    "greedy": (Greedy, False),
    "seed": (SamplingSeed, 0),
    "weight_dtype": (WeightDtype, "float32"),
}
"""What is generated, and how."""
PLAN = {"memory": (Memory, False), "ranks_per_host": RanksPerHost, "as_json": (AsJson, False)}
"""What is planned, and for which hosts."""
PROFILE = {"profile": (Profile, False)}
