"""The command ``textgen``: verbs and their options; the work is loaded when it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hvdcore import options as shared
from hvdcore.errors import exit_on_user_error
from hvdcore.tune import options as tuning
from textgen import options

if TYPE_CHECKING:
    from textgen.config import TrainConfig
    from textgen.judge.config import JudgeConfig

app = typer.Typer(
    name="textgen",
    help="Train, evaluate and sample a decoder-only transformer on books, on Horovod.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help costs a third of the time of the framed one.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


SCORE_FIELDS = (
    "data", "context_length", "val_fraction", "test_fraction", "text_column", "eval_batch_size",
)  # fmt: skip
"""Fields of the configuration that a model is scored by."""


def main() -> None:
    """The entry point of the ``textgen`` command."""
    app()


@app.command()
@exit_on_user_error
def train(
    data: shared.Data = None,
    output_dir: shared.OutputDir = None,
    np: shared.Np = None,
    hosts: shared.Hosts = None,
    model: shared.Model = None,
    epochs: shared.Epochs = None,
    max_steps: shared.MaxSteps = None,
    global_batch_size: shared.GlobalBatchSize = None,
    learning_rate: shared.LearningRate = None,
    seed: shared.Seed = None,
    eval_every: shared.EvalEvery = None,
    checkpoint_every: shared.CheckpointEvery = None,
    resume: shared.Resume = None,
    config: shared.ConfigFile = None,
    stall_timeout: shared.StallTimeout = None,
    hostfile: shared.Hostfile = None,
    max_restarts: shared.MaxRestarts = None,
    min_np: shared.MinNp = None,
    max_np: shared.MaxNp = None,
    host_discovery_script: shared.HostDiscoveryScript = None,
    elastic_timeout: shared.ElasticTimeout = None,
    ray: shared.Ray = None,
    cpus_per_rank: shared.CpusPerRank = None,
    gpus_per_rank: shared.GpusPerRank = None,
    tokenizer: options.Tokenizer = None,
    vocab_size: options.VocabSize = None,
    context_length: options.ContextLength = None,
    num_layers: options.NumLayers = None,
    num_heads: options.NumHeads = None,
    num_kv_heads: options.NumKvHeads = None,
    embed_dim: options.EmbedDim = None,
    mlp_dim: options.MlpDim = None,
    attention_every: options.AttentionEvery = None,
    conv_kernel: options.ConvKernel = None,
    val_fraction: options.ValFraction = None,
    test_fraction: options.TestFraction = None,
    text_column: options.TextColumn = None,
    near_duplicate_threshold: options.NearDuplicateThreshold = None,
    init_from: options.InitFrom = None,
    lora_rank: options.LoraRank = None,
    lora_alpha: options.LoraAlpha = None,
    lora_targets: options.LoraTargets = None,
    optimizer: options.Optimizer = None,
    learning_rate_schedule: options.Schedule = None,
    warmup_steps: options.WarmupSteps = None,
    final_learning_rate_fraction: options.FinalFraction = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    train_temperature: options.TrainTemperature = None,
    clip_norm: options.ClipNorm = None,
    per_rank_batch_size: options.PerRankBatchSize = None,
    eval_batch_size: options.EvalBatchSize = None,
    dtype: options.Dtype = None,
    log_every: options.LogEvery = None,
    sample_tokens: options.SampleTokens = None,
    profile: options.Profile = False,
) -> None:
    """Train a model, on one rank or on many."""
    flags = {**locals()}
    start = shared.StartOptions.take(flags)
    for name in ("output_dir", "resume", "config", "profile"):
        del flags[name]

    def settings() -> TrainConfig:
        from hvdcore.config import load_config
        from textgen.config import TrainConfig

        return load_config(TrainConfig, config, flags)

    def work() -> int:
        from textgen.train import train

        return train(settings(), output_dir, resume or "never", profile)

    run(work, start, output_dir, check=settings)


def run(
    work: Callable[[], int],
    start: shared.StartOptions,
    output_dir: Path | None = None,
    check: Callable[[], object] | None = None,
) -> None:
    """Do a verb's work on one rank or many, and exit with its code."""
    from hvdcore.entry import run_on_ranks

    code = run_on_ranks("textgen", work, start, output_dir=output_dir, check=check)
    raise typer.Exit(code)


@app.command()
@exit_on_user_error
def prepare(
    data: shared.Data = None,
    np: shared.Np = None,
    hosts: shared.Hosts = None,
    config: shared.ConfigFile = None,
    stall_timeout: shared.StallTimeout = None,
    tokenizer: options.Tokenizer = None,
    vocab_size: options.VocabSize = None,
    context_length: options.ContextLength = None,
    val_fraction: options.ValFraction = None,
    test_fraction: options.TestFraction = None,
    text_column: options.TextColumn = None,
    near_duplicate_threshold: options.NearDuplicateThreshold = None,
) -> None:
    """Read, split and tokenize the data into the cache, on one rank or on many."""
    flags = {**locals()}
    for name in ("np", "hosts", "config", "stall_timeout"):
        del flags[name]

    def settings() -> TrainConfig:
        from hvdcore.config import load_config
        from textgen.config import TrainConfig

        return load_config(TrainConfig, config, flags)

    def work() -> int:
        from textgen.show import prepare_and_show

        return prepare_and_show(settings())

    run(work, shared.StartOptions(np, hosts, stall_timeout), check=settings)


def judge_config(*asked: Any) -> JudgeConfig:
    """How text is judged, as the flags of `evaluate` and `compare` say it."""
    from textgen.judge.config import JudgeConfig

    return JudgeConfig.of(*asked)


@app.command()
@exit_on_user_error
def evaluate(
    model: options.ModelArgument,
    data: shared.Data = None,
    np: shared.Np = None,
    hosts: shared.Hosts = None,
    stall_timeout: shared.StallTimeout = None,
    split: options.Splits = None,
    context_length: options.WindowLength = None,
    stride: options.Stride = None,
    val_fraction: options.ValFraction = None,
    test_fraction: options.TestFraction = None,
    text_column: options.TextColumn = None,
    eval_batch_size: options.EvalBatchSize = None,
    generation: options.Generation = False,
    num_prompts: options.NumPrompts = 64,
    prompt_words: options.PromptWords = 32,
    continuation_words: options.ContinuationWords = 64,
    decoding: options.Decodings = None,
    scorer: options.Scorer = None,
    seed: options.JudgeSeed = 0,
) -> None:
    """Score a model exactly: loss, perplexity by token and by word, bits per byte. With
    --generation, judge what it writes."""
    given = {**locals()}
    flags = {name: given[name] for name in SCORE_FIELDS}

    def judging() -> JudgeConfig | None:
        asked = (num_prompts, prompt_words, continuation_words, decoding, seed)
        return judge_config(*asked) if generation else None

    def work() -> int:
        from textgen.score import score_model

        return score_model(model, split or ["val", "test"], stride, flags, judging(), scorer)

    run(work, shared.StartOptions(np, hosts, stall_timeout), check=judging)


@app.command()
@exit_on_user_error
def generate(
    model: options.ModelArgument,
    np: shared.Np = None,
    hosts: shared.Hosts = None,
    stall_timeout: shared.StallTimeout = None,
    prompt: options.Prompt = None,
    prompt_file: options.PromptFile = None,
    max_new_tokens: options.MaxNewTokens = 200,
    num_samples: options.NumSamples = 1,
    temperature: options.Temperature = 0.8,
    top_k: options.TopK = 50,
    top_p: options.TopP = 1.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    greedy: options.Greedy = False,
    seed: options.SamplingSeed = 0,
) -> None:
    """Let a model go on from a prompt, or write from an empty page."""
    settings = {**locals()}
    for name in ("model", "np", "hosts", "stall_timeout"):
        del settings[name]

    def work() -> int:
        from textgen.generate import generate_command

        return generate_command(model, **settings)

    run(work, shared.StartOptions(np, hosts, stall_timeout))


@app.command()
@exit_on_user_error
def compare(
    models: options.Models,
    data: shared.Data = None,
    output_dir: shared.OutputDir = None,
    np: shared.Np = None,
    hosts: shared.Hosts = None,
    stall_timeout: shared.StallTimeout = None,
    split: options.HeldOut = "test",
    context_length: options.WindowLength = None,
    stride: options.Stride = None,
    val_fraction: options.ValFraction = None,
    test_fraction: options.TestFraction = None,
    text_column: options.TextColumn = None,
    eval_batch_size: options.EvalBatchSize = None,
    num_prompts: options.NumPrompts = 64,
    prompt_words: options.PromptWords = 32,
    continuation_words: options.ContinuationWords = 64,
    decoding: options.Decodings = None,
    scorer: options.Scorer = None,
    seed: options.JudgeSeed = 0,
) -> None:
    """Put several models side by side on the same held-out books, trained here or elsewhere."""
    given = {**locals()}
    flags = {name: given[name] for name in SCORE_FIELDS}

    def judging() -> JudgeConfig:
        return judge_config(num_prompts, prompt_words, continuation_words, decoding, seed)

    def work() -> int:
        from textgen.compare.command import compare_models

        return compare_models(models, output_dir, split, stride, flags, judging(), scorer)

    run(work, shared.StartOptions(np, hosts, stall_timeout), check=judging)


@app.command()
@exit_on_user_error
def export(model: options.ModelArgument, to: options.To, output_dir: shared.OutputDir) -> None:
    """Write the model in a form that other software loads."""
    from textgen.export import export as write

    typer.echo(write(model, to, output_dir))


@app.command()
@exit_on_user_error
def tune(
    data: shared.Data = None,
    output_dir: shared.OutputDir = None,
    np: shared.Np = None,
    hosts: shared.Hosts = None,
    model: shared.Model = None,
    epochs: shared.Epochs = None,
    max_steps: shared.MaxSteps = None,
    global_batch_size: shared.GlobalBatchSize = None,
    learning_rate: shared.LearningRate = None,
    seed: shared.Seed = None,
    eval_every: shared.EvalEvery = None,
    checkpoint_every: shared.CheckpointEvery = None,
    config: shared.ConfigFile = None,
    stall_timeout: shared.StallTimeout = None,
    trials: tuning.Trials = None,
    timeout: tuning.Timeout = None,
    parallel_trials: tuning.ParallelTrials = None,
    objective: tuning.ObjectiveName = None,
    pruner: tuning.Pruner = None,
    space: tuning.SpaceFile = None,
    engine: tuning.Engine = None,
) -> None:
    """Search for good settings: many trainings, the poor ones stopped early."""
    flags = {**locals()}

    from hvdcore.tune.command import tune_command
    from textgen.search_space import TUNABLE

    raise typer.Exit(tune_command(TUNABLE, flags))


@app.command()
@exit_on_user_error
def report(runs: options.Runs, output_dir: shared.OutputDir = None) -> None:
    """Write one page about a run, or about several side by side."""
    from textgen.report import report_runs

    typer.echo(report_runs(runs, output_dir))


@app.command()
def models() -> None:
    """List the model presets."""
    from textgen.show import show_models

    show_models()
