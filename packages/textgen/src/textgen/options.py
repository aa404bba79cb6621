"""The options of trainings that only textgen has; the shared ones are in ``hvdcore.options``.

The options of the verbs that read a model; those of trainings are in `textgen.options`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvdcore.options import REAL, WHOLE

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
    typer.Option(
        metavar="RUN|PATH|HUB_ID",
        help="Start from the weights and the tokenizer of a run, a saved model or the hub's.",
    ),
]
LoraRank = Annotated[
    int | None,
    typer.Option(**WHOLE, help="Train adapters of this rank (LoRA) in place of all weights."),
]
LoraAlpha = Annotated[
    float | None, typer.Option(**REAL, help="Scale of the adapters. Default: twice the rank.")
]
LoraTargets = Annotated[
    str | None,
    typer.Option(metavar="NAME,...", help="Linear maps that get adapters. Default: all."),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        metavar="muon|adamw",
        help="How the weights are updated. Default: muon; to fine-tune a model of transformers "
        "adamw, at a rate of 5e-5 (2e-4 with LoRA).",
    ),
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
GradientDtype = Annotated[
    str | None,
    typer.Option(
        metavar="float32|bfloat16|float16",
        help="What gradients and updates travel between ranks in; half the bytes in the last two.",
    ),
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
Profile = Annotated[
    bool, typer.Option("--profile", help="Trace a few steps of each rank into the run's profile/.")
]

TOKENS = {"tokenizer": Tokenizer, "vocab_size": VocabSize, "context_length": ContextLength}
"""How text becomes tokens."""
PARTS = {"val_fraction": ValFraction, "test_fraction": TestFraction, "text_column": TextColumn}
"""How documents are cut into parts."""
NETWORK = {
    "num_layers": NumLayers,
    "num_heads": NumHeads,
    "num_kv_heads": NumKvHeads,
    "embed_dim": EmbedDim,
    "mlp_dim": MlpDim,
    "attention_every": AttentionEvery,
    "conv_kernel": ConvKernel,
}
"""The model, where it is not a preset."""
DUPLICATES = {"near_duplicate_threshold": NearDuplicateThreshold}
"""What counts as the same document."""
FINE_TUNING = {
    "init_from": InitFrom,
    "lora_rank": LoraRank,
    "lora_alpha": LoraAlpha,
    "lora_targets": LoraTargets,
}
"""What a training starts from."""
TRAINING = {
    "optimizer": Optimizer,
    "learning_rate_schedule": Schedule,
    "warmup_steps": WarmupSteps,
    "final_learning_rate_fraction": FinalFraction,
    "weight_decay": WeightDecay,
    "momentum": Momentum,
    "train_temperature": TrainTemperature,
    "clip_norm": ClipNorm,
    "per_rank_batch_size": PerRankBatchSize,
    "eval_batch_size": EvalBatchSize,
    "dtype": Dtype,
    "gradient_dtype": GradientDtype,
    "log_every": LogEvery,
    "sample_tokens": SampleTokens,
    "profile": (Profile, False),
}
"""How a model is trained."""


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
