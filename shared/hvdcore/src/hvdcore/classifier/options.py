"""The command-line options that the commands of all classifiers share, beside `hvdcore.options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvdcore.options import (
    REAL,
    WHOLE,
    ConfigFile,
    Data,
    Epochs,
    GlobalBatchSize,
    MaxSteps,
    OutputDir,
    Seed,
)

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="One run directory or more.")]
ValFraction = Annotated[float | None, typer.Option(**REAL, help="Share of train for val.")]
TestFraction = Annotated[
    float | None, typer.Option(**REAL, help="Share for test, where the data brings none.")
]
LabelSmoothing = Annotated[
    float | None, typer.Option(**REAL, help="Probability left to all classes alike.")
]
WarmupSteps = Annotated[int | None, typer.Option(**WHOLE, help="Steps up to the peak rate.")]
FinalFraction = Annotated[
    float | None,
    typer.Option(
        "--final-learning-rate-fraction", **REAL, help="Share of the peak rate left at the end."
    ),
]
WeightDecay = Annotated[float | None, typer.Option(**REAL, help="Decoupled weight decay.")]
EmaDecay = Annotated[
    float | None, typer.Option(**REAL, help="Decay of the average of the weights; 0 is off.")
]
Dtype = Annotated[
    str | None, typer.Option(metavar="auto|float32|bfloat16", help="Precision of the products.")
]
Compiler = Annotated[
    str | None, typer.Option(metavar="graph|xla", help="What compiles the gradients.")
]
EvalBatchSize = Annotated[
    int | None, typer.Option(**WHOLE, help="Samples a rank evaluates at once.")
]
Patience = Annotated[
    int | None, typer.Option(**WHOLE, help="Evaluations without a gain before stopping.")
]
LogEvery = Annotated[
    int | None, typer.Option(**WHOLE, help="Steps from one point of the train curves to the next.")
]
Splits = Annotated[
    list[str] | None,
    typer.Option(
        "--split", metavar="train|val|test", help="Part to score; repeatable. Default: val, test."
    ),
]
Format = Annotated[
    str, typer.Option("--format", metavar="csv|json|jsonl", help="Form of what is printed.")
]
Output = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="Write there, not to the terminal.")
]
Models = Annotated[str, typer.Option("--models", metavar="NAME,...", help="Models to compare.")]
Sizes = Annotated[str, typer.Option("--np", metavar="N,...", help="Numbers of ranks to compare.")]

SPLIT = {"val_fraction": ValFraction, "test_fraction": TestFraction}
"""How the samples are cut into parts."""
TRAINING = {
    "label_smoothing": LabelSmoothing, "warmup_steps": WarmupSteps,
    "final_learning_rate_fraction": FinalFraction, "weight_decay": WeightDecay,
    "ema_decay": EmaDecay, "dtype": Dtype, "compiler": Compiler,
    "eval_batch_size": EvalBatchSize, "patience": Patience, "log_every": LogEvery,
}  # fmt: skip
"""How a classifier is trained."""
COMPARE = {
    "data": Data, "output_dir": OutputDir, "epochs": Epochs, "max_steps": MaxSteps,
    "global_batch_size": GlobalBatchSize, "seed": Seed, "config": ConfigFile,
}  # fmt: skip
"""What all trainings of a comparison share."""
