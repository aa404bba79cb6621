"""The options of trainings that only textgen has; the shared ones are in ``hvdcore.options``."""

from __future__ import annotations

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
    "log_every": LogEvery,
    "sample_tokens": SampleTokens,
    "profile": (Profile, False),
}
"""How a model is trained."""
