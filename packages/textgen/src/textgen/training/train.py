"""The training loop of textgen, from an empty run directory to the report.

The folders that a run's flags name, looked at before hours of work begin.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import torch

import hvdcore.torch
from hvdcore.errors import Problems, UserError
from hvdcore.run.run_dir import default_run_dir
from hvdcore.run.start import look_at_places, start_run
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.signals import StopFlag
from hvdcore.sharding import Indices, TrainStep, train_steps
from hvdcore.torch import StepClock, StepProfile, broadcast_object, peak_flops
from hvdcore.tracking.logs import get_logger, setup_logging
from textgen.config import TrainConfig
from textgen.data.distributed import data_config, open_corpus_on_all_ranks, summary
from textgen.model.cost import Utilization, train_flops
from textgen.model.language_model import rows_at_once
from textgen.pretrained.load import look_for_model
from textgen.training.checkpoints import identity, restore, write_checkpoint
from textgen.training.finish import finish, sample_text, score_part
from textgen.training.init_model import starting_place, starting_tokenizer
from textgen.training.metrics_logger import Record
from textgen.training.state import Training, build_training, num_train_blocks, train_blocks


def check_places(path: Path, config: TrainConfig, resume: str) -> None:
    """Rank 0 alone calls this.

    Raises:
        UserError: the run's directory is in use, or nothing is where ``--resume`` or
            ``--init-from`` say; all of it at once.
    """
    problems = Problems()
    look_at_places(path, resume, problems)
    if config.init_from is not None:
        try:
            look_for_model(config.init_from)
        except UserError as error:
            problems.add("init_from", error.problems[0])
    problems.raise_if_any()


logger = get_logger(__name__)


def train(config: TrainConfig, output_dir: Path | None, resume: str, profile: bool = False) -> int:
    """Train as configured; every rank calls this, under any launcher or none.

    Args:
        output_dir: the run directory; None takes ``runs/textgen/<time>``.
        resume: ``never``, ``auto`` or the path of a checkpoint or a run.
        profile: trace a few steps into the run's ``profile/``.

    Returns:
        The exit code: 0, or 128 + the signal that asked to stop, after saving a checkpoint.
    """
    world = hvdcore.torch.init(timeline=profile)
    setup_logging(world, None)
    output_dir = output_dir or default_run_dir("textgen")
    if world.is_root:
        check_places(output_dir, config, resume)  # before a log is put into somebody's folder
    # Each rank's clock would name another default.
    output_dir = Path(broadcast_object(str(output_dir)))
    setup_logging(world, output_dir)
    place = starting_place(config, world)
    tokenizer = starting_tokenizer(config, place)
    corpus = open_corpus_on_all_ranks(data_config(config, config.context_length, tokenizer), world)
    logger.info("%s", summary(corpus))
    training = build_training(config, corpus, world, place)
    # Not before: until here a signal may end the process at once, and hours of reading with it.
    with StopFlag() as stop:
        run, checkpoint = start_run(
            output_dir, "textgen", config, resume,
            identity=identity(training), world=world, broadcast=broadcast_object,
        )  # fmt: skip
        if checkpoint is not None:
            restore(training, checkpoint)
        step = checkpoint and checkpoint.step
        with Record.of(training, run, step, utilization(training)) as record:
            with StepProfile(
                run.profile if profile else None, world, training.total_steps - training.step
            ) as steps:
                stopped = fit(training, record, stop, steps)
            if stopped:
                return stop.exit_code
            finish(training, record)
    return 0


def fit(training: Training, record: Record, stop: StopFlag, profile: StepProfile) -> bool:
    """Make the steps that are left; evaluate, checkpoint and log on the way.

    Returns:
        Whether a rank was asked to stop before the last step. The checkpoint is written.
    """
    config = training.config
    eval_every = training.every(config.eval_every)
    checkpoint_every = training.every(config.checkpoint_every or config.eval_every)
    if training.step == 0:
        validate(training, record)
    for batch in batches(training):
        if training.step == training.total_steps:
            break
        began, learning_rate = perf_counter(), training.learning_rate()
        clock = StepClock(training.optimizer)
        tokens, targets = fetch(training, batch.epoch, batch.indices)
        clock.fetched()
        outcome = update(training, tokens, targets, batch.num_samples, stop.requested)
        times = clock.times()
        num_tokens = batch.num_samples * config.context_length
        training.step, training.position = training.step + 1, batch.position
        record.step(
            training,
            loss=outcome.sums[0] / num_tokens,
            gradient_norm=outcome.gradient_norm,
            learning_rate=learning_rate,
            num_tokens=num_tokens,
            times=times,
        )
        profile.step()
        done = training.step == training.total_steps
        improved = False
        if done or training.step % eval_every == 0:
            improved = validate(training, record)
        if done or improved or outcome.stop or training.step % checkpoint_every == 0:
            write_checkpoint(training, record.run, is_best=improved)
        training.seconds += perf_counter() - began
        if outcome.stop and not done:
            return True
    return False


def batches(training: Training) -> Iterator[TrainStep]:
    """This rank's share of each global batch, from where the run stands, without end."""
    return train_steps(
        num_train_blocks(training.corpus),
        global_batch_size=training.config.global_batch_size,
        seed=training.config.seed,
        rank=training.world.rank,
        size=training.world.size,
        start=training.position,
        tail="short",
    )


def validate(training: Training, record: Record) -> bool:
    """Score the val part, and write a sample; whether the loss is the best so far."""
    training.optimizer.synchronize()
    score = score_part(training, "val")
    if score is None:
        return False
    record.evaluation(training, "val", score)
    record.sample(training, sample_text(training))
    improved = score.loss < training.best_val_loss
    training.best_val_loss = min(score.loss, training.best_val_loss)
    return improved and training.step > 0


def update(
    training: Training, tokens: torch.Tensor, targets: torch.Tensor, num_samples: int, stop: bool
) -> hvdcore.torch.StepOutcome:
    """One optimizer step on this rank's share of the global batch.

    Losses are summed and divided by the global number of tokens, so gradients add up over ranks
    and over micro-batches to those of the mean over the whole global batch.

    Args:
        tokens, targets: [sequences of this rank, T].
        num_samples: sequences of the global batch, over all ranks.

    Returns:
        What all ranks agreed on.
    """
    config, optimizer = training.config, training.optimizer
    num_tokens = num_samples * config.context_length
    wanted = config.per_rank_batch_size or max(1, len(tokens))
    micro = rows_at_once(training.model, config.context_length, wanted)
    optimizer.scale_learning_rate(training.learning_rate_fraction())
    starts = range(0, len(tokens), micro)
    optimizer.zero_grad(backward_passes=len(starts))
    loss_sum = 0.0
    beat("compute", training.step)
    for start in starts:
        with precision(training):
            loss = training.model.loss(
                tokens[start : start + micro],
                targets[start : start + micro],
                temperature=config.train_temperature,
            )
        (loss / num_tokens).backward()
        loss_sum += loss.item()
    return optimizer.step(sums=(loss_sum,), stop=stop, wait=False)


def fetch(training: Training, epoch: int, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
    """This rank's (tokens, targets), each [len(indices), T], on the device."""
    beat("data", training.step)
    tokens, targets = train_blocks(training, epoch).batch(indices)
    return torch.from_numpy(tokens).to(training.device), torch.from_numpy(targets).to(
        training.device
    )


def precision(training: Training) -> contextlib.AbstractContextManager[object]:
    """The matrix products within it are of ``product_dtype``."""
    if product_dtype(training) == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(training.device.type, dtype=torch.bfloat16)


def product_dtype(training: Training) -> torch.dtype:
    """bfloat16 where asked for or where the GPU has it; float32 elsewhere."""
    wanted = training.config.dtype
    if wanted == "auto":
        cuda = training.device.type == "cuda" and torch.cuda.is_bf16_supported()
        wanted = "bfloat16" if cuda else "float32"
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def utilization(training: Training) -> Utilization:
    """What the speed is measured against. Every rank must call."""
    flops = train_flops(training.model, training.config.context_length)
    return Utilization(flops, peak_flops(training.device, product_dtype(training)))
