"""The training loop of textgen, from an empty run directory to the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, cast

import torch

import hvdcore.torch
from hvdcore.errors import Problems, UserError
from hvdcore.run.checkpoint import CheckpointWriter, Mirror
from hvdcore.run.finite import check_finite, rerun_command
from hvdcore.run.lock import hold_run_dir, run_dirs_held
from hvdcore.run.run_dir import default_run_dir
from hvdcore.run.start import check_output_dir, start_run
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.signals import StopFlag
from hvdcore.sharding import TrainStep, train_steps
from hvdcore.torch import (
    StepClock,
    StepOutcome,
    StepProfile,
    broadcast_object,
    gather_objects,
    peak_flops,
)
from hvdcore.tracking.logs import get_logger, setup_logging
from textgen.config import TrainConfig
from textgen.data.distributed import prepare_distributed, summary
from textgen.model.cost import Utilization, train_flops
from textgen.model.language_model import rows_at_once
from textgen.pretrained.load import check_model_exists
from textgen.training.checkpoints import Checkpoints, restore, run_fingerprint
from textgen.training.diagnosis import diagnose
from textgen.training.finalize import evaluate_split, finalize, sample_text
from textgen.training.init_model import resolve_init_from
from textgen.training.metrics_logger import MetricsLogger
from textgen.training.state import TrainState, build_state

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["train"]

logger = get_logger(__name__)

NOT_FINITE_HINT = (
    "lower --learning-rate, lengthen the warmup, or lower --clip-norm, and --resume auto to go on "
    "from there"
)


@run_dirs_held()
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
        preflight(output_dir, config, resume)  # before a log file is created there
        hold_run_dir(output_dir)
    # The default depends on the clock, which differs between ranks.
    output_dir = Path(broadcast_object(str(output_dir)))
    setup_logging(world, output_dir)
    init_from = resolve_init_from(config, world)
    tokenizer = init_from.tokenizer if init_from is not None and not config.tokenizer else None
    corpus = prepare_distributed(config, world, tokenizer)
    logger.info("%s", summary(corpus))
    state = build_state(config, corpus, world, init_from, rows_before(config, output_dir, resume))
    config = state.config
    fingerprint = run_fingerprint(
        config, state.model, corpus.path.name, state.optimizer_config.name
    )
    mirror = Mirror(config.mirror) if config.mirror and world.is_root else None
    # Only now: until here a signal may end the process at once, even in hours of preparing data.
    with StopFlag() as stop:
        run, checkpoint = start_run(
            output_dir, "textgen", config, resume,
            fingerprint=fingerprint, world=world, broadcast=broadcast_object,
            mirror=mirror,
        )  # fmt: skip
        if checkpoint is not None:
            state.counters = restore(checkpoint, state.model, state.optimizer)
        utilization = Utilization(
            train_flops(state.model, config.context_length), peak_flops(state.device, state.dtype)
        )
        metrics = MetricsLogger.create(
            run, config, world, device=state.device, utilization=utilization,
            total_steps=state.total_steps,
            resume_step=None if checkpoint is None else checkpoint.step,
        )  # fmt: skip
        steps_left = state.total_steps - state.counters.step
        trace = StepProfile(run.profile if profile else None, world, steps_left)
        checkpoints = Checkpoints(state, run, fingerprint, mirror)
        with metrics, checkpoints.writer:
            with trace:
                stopped = fit(state, metrics, stop, trace, checkpoints)
            checkpoints.writer.finish()
            if stopped:
                return stop.exit_code
            finalize(state, metrics)
    return 0


def rows_before(config: TrainConfig, output_dir: Path, resume: str) -> int | None:
    """What ``--per-rank-batch-size auto`` was in the run that is resumed. Every rank must call."""
    if config.per_rank_batch_size != "auto":
        return None
    from textgen.training.micro_batch import recorded_rows  # loads what few runs need

    return cast("int | None", broadcast_object(recorded_rows(output_dir, resume)))


def preflight(path: Path, config: TrainConfig, resume: str) -> None:
    """Check the paths of a run before hours of work. On rank 0 only.

    Raises:
        UserError: the run directory is in use, or ``--resume`` or ``--init-from`` name nothing;
            all problems at once.
    """
    problems = Problems()
    check_output_dir(path, resume, problems, config.mirror)
    if config.init_from is not None:
        try:
            check_model_exists(config.init_from)
        except UserError as error:
            problems.add("init_from", error.problems[0])
    problems.raise_if_any()


def fit(
    state: TrainState,
    metrics: MetricsLogger,
    stop: StopFlag,
    profile: StepProfile,
    checkpoints: Checkpoints,
) -> bool:
    """Make the remaining steps; evaluate, save checkpoints and log on the way.

    Returns:
        Whether a rank was asked to stop before the last step. A checkpoint is being written.
    """
    config, counters = state.config, state.counters
    eval_every = state.every(config.eval_every)
    checkpoint_every = state.every(config.checkpoint_every or config.eval_every)
    if counters.step == 0:
        validate(state, metrics, checkpoints.writer)
    for batch in batches(state):
        if state.is_done:
            break
        began, learning_rate = perf_counter(), state.learning_rate()
        clock = StepClock(state.optimizer)
        tokens, targets = get_batch(state, batch)
        clock.fetched()
        outcome = train_step(
            state, tokens, targets, batch.num_samples, stop.requested, checkpoints.writer.failed
        )
        check_step(state, outcome, checkpoints.writer, batch, (tokens, targets))
        times = clock.times()
        num_tokens = batch.num_samples * config.context_length
        counters.step, counters.position = counters.step + 1, batch.position
        metrics.log_step(
            counters.step,
            counters.position.epoch,
            loss=outcome.sums[0] / num_tokens,
            gradient_norm=outcome.gradient_norm,
            learning_rate=learning_rate,
            num_tokens=num_tokens,
            times=times,
        )
        profile.step()
        improved = False
        if state.is_done or counters.step % eval_every == 0:
            improved = validate(state, metrics, checkpoints.writer)
        if state.is_done or improved or outcome.stop or counters.step % checkpoint_every == 0:
            check_weights(state, checkpoints.writer)
            checkpoints.write(is_best=improved)
        counters.seconds += perf_counter() - began
        if outcome.stop and not state.is_done:
            return True
    return False


def batches(state: TrainState) -> Iterator[TrainStep]:
    """This rank's share of each global batch, from the current position on, without end."""
    return train_steps(
        len(state.train_blocks),
        global_batch_size=state.config.global_batch_size,
        seed=state.config.seed,
        rank=state.world.rank,
        size=state.world.size,
        start=state.counters.position,
        tail="short",
    )


def get_batch(state: TrainState, batch: TrainStep) -> tuple[torch.Tensor, torch.Tensor]:
    """This rank's (tokens, targets), each [sequences, T], on the device."""
    beat("data", state.counters.step)
    tokens, targets = state.train_blocks.batch(batch.epoch, batch.indices)
    return to_device(tokens, state.device), to_device(targets, state.device)


def to_device(array: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """The array as a tensor. A GPU copies it from pinned memory when it gets to that."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def train_step(
    state: TrainState,
    tokens: torch.Tensor,
    targets: torch.Tensor,
    num_samples: int,
    stop: bool,
    failed: bool = False,
) -> StepOutcome:
    """One optimizer step on this rank's share of the global batch.

    Losses are summed and divided by the global number of tokens, so gradients add up over ranks
    and micro-batches to those of the mean over the global batch.

    Args:
        tokens, targets: [sequences of this rank, T].
        num_samples: sequences of the global batch, over all ranks.
        stop: whether this rank was asked to stop.
        failed: whether it could not write a checkpoint.

    Returns:
        The sums of the losses and of `failed`, the gradient norm and the stop flag, over all ranks.
    """
    config, optimizer = state.config, state.optimizer
    num_tokens = num_samples * config.context_length
    micro = micro_batch(state, len(tokens))
    starts = range(0, len(tokens), micro)
    optimizer.scale_learning_rate(state.learning_rate_fraction())
    optimizer.zero_grad(backward_passes=len(starts))
    # Added up on the device, so that no micro-batch waits for the one before, nor the step's end.
    loss_sum = torch.zeros((), dtype=torch.float64, device=state.device)
    beat("compute", state.counters.step)
    for start in starts:
        with state.autocast():
            loss = state.model.loss(
                tokens[start : start + micro],
                targets[start : start + micro],
                temperature=config.train_temperature,
            )
        (loss / num_tokens).backward()
        loss_sum += loss.detach()
    state.own_loss = loss_sum
    return optimizer.step(sums=(loss_sum, float(failed)), stop=stop, wait=False)


def check_step(
    state: TrainState,
    outcome: StepOutcome,
    writer: CheckpointWriter,
    batch: TrainStep,
    data: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Check that loss and gradient are finite, and that the last checkpoint could be written.

    Args:
        batch, data: of this step, to find out what is not finite.

    Raises:
        UserError: on all ranks, they are not, or it could not.
    """
    if outcome.sums[1]:
        writer.raise_failure()

    def explain() -> list[str]:
        state.optimizer.synchronize()
        found = diagnose(
            state.model, *data, batch.indices.tolist(), micro=micro_batch(state, len(data[0])),
            temperature=state.config.train_temperature, autocast=state.autocast(),
        )  # fmt: skip
        return gather_objects(found)

    check_finite(
        {"loss": outcome.sums[0], "gradient": outcome.gradient_norm},
        step=state.counters.step + 1, is_finite_here=math.isfinite(float(state.own_loss)),
        gather=after(writer), hint=NOT_FINITE_HINT, explain=explain,
        rerun=lambda: rerun(state, writer),
    )  # fmt: skip


def rerun(state: TrainState, writer: CheckpointWriter) -> str:
    """The command that makes the next step again."""
    return rerun_command(
        "textgen", writer.run, state.world.size,
        has_checkpoint=writer.has_saved, mirror=bool(state.config.mirror),
    )  # fmt: skip


def micro_batch(state: TrainState, num_rows: int) -> int:
    """Sequences of this rank's share that go through the model at once."""
    wanted = state.config.per_rank_batch_size or max(1, num_rows)
    assert wanted != "auto", "build_state puts a number in its place"
    return rows_at_once(state.model, state.config.context_length, wanted)


def after(writer: CheckpointWriter) -> Callable[[bool], list[object]]:
    """`gather_objects`, once the checkpoint that is being written is complete: no rank may end the
    run before."""

    def gather(flag: bool) -> list[object]:
        writer.wait()
        return gather_objects(flag)

    return gather


def check_weights(state: TrainState, writer: CheckpointWriter) -> None:
    """Check that the weights are finite, before a checkpoint of them is written.

    Raises:
        UserError: on all ranks, they are not.
    """
    state.optimizer.synchronize()
    with torch.no_grad():
        norms = [torch.linalg.vector_norm(p.float()) for p in state.model.parameters()]
        norm = float(torch.stack(norms).sum())
    check_finite(
        {"size of the weights": norm}, step=state.counters.step, is_finite_here=True,
        gather=after(writer), hint=NOT_FINITE_HINT,
    )  # fmt: skip


def validate(state: TrainState, metrics: MetricsLogger, writer: CheckpointWriter) -> bool:
    """Score the val split and log it with a sample; whether the loss is the best so far."""
    counters = state.counters
    state.optimizer.synchronize()
    score = evaluate_split(state, "val")
    if score is None:
        return False
    check_finite(
        {"val loss": score.loss}, step=counters.step, is_finite_here=True, gather=after(writer),
        hint=NOT_FINITE_HINT if counters.step else "the weights to start from are damaged",
    )  # fmt: skip
    metrics.log_evaluation(counters.step, counters.position.epoch, "val", score)
    metrics.log_sample(counters.step, sample_text(state, state.config.sample_tokens))
    improved = score.loss < counters.best_val_loss
    counters.best_val_loss = min(score.loss, counters.best_val_loss)
    return improved and counters.step > 0
