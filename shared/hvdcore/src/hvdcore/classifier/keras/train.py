"""The training loop of a classifier on all ranks, from an empty run directory to the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

from hvdcore.classifier.config import ClassifierConfig
from hvdcore.classifier.keras.checkpoints import Checkpoints, restore
from hvdcore.classifier.keras.diagnosis import diagnose
from hvdcore.classifier.keras.evaluate import Evaluator
from hvdcore.classifier.keras.finalize import finalize
from hvdcore.classifier.keras.metrics_logger import ClassifierMetricsLogger
from hvdcore.classifier.keras.pretraining import PretrainingCheckpoints
from hvdcore.classifier.keras.state import StepSums, TrainState, build_state
from hvdcore.classifier.keras.task import Task
from hvdcore.errors import Problems
from hvdcore.keras.collectives import allgather_rows, broadcast_object
from hvdcore.keras.startup import init
from hvdcore.run.checkpoint import CheckpointWriter, Mirror
from hvdcore.run.finite import check_finite, rerun_command
from hvdcore.run.lock import hold_run_dir, run_dirs_held
from hvdcore.run.metrics_logger import StepTimes
from hvdcore.run.run_dir import default_run_dir
from hvdcore.run.start import check_output_dir, start_run
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.signals import StopFlag
from hvdcore.runtime.world import World
from hvdcore.sharding import TrainStep, train_steps
from hvdcore.tracking.logs import setup_logging

__all__ = ["gather_flags", "setup_run", "train"]

NOT_FINITE_HINT = (
    "lower --learning-rate or lengthen the warmup, and --resume auto to go on from there"
)


@run_dirs_held()
def train(
    package: str,
    config: ClassifierConfig,
    open_task: Callable[[World], Task],
    output_dir: Path | None,
    resume: str,
) -> int:
    """Train as configured. Every rank must call, under any launcher or none.

    Args:
        package: the distribution that trains.
        open_task: prepares the data and opens it; every rank calls it.
        output_dir: the run directory; None takes ``runs/<package>/<time>``.
        resume: ``never``, ``auto`` or the path of a checkpoint or a run.

    Returns:
        Exit code 0, or 128 + the signal that asked to stop, after saving a checkpoint.
    """
    world, output_dir = setup_run(package, output_dir, resume, config.mirror)
    mirror = Mirror(config.mirror) if config.mirror and world.is_root else None
    state = build_state(open_task(world), world)
    # Not earlier: up to here a signal may end the process at once, even in hours of preparation.
    with StopFlag() as stop:
        run, checkpoint = start_run(
            output_dir, package, config, resume,
            fingerprint=state.run_fingerprint(), world=world, broadcast=broadcast_object,
            mirror=mirror,
        )  # fmt: skip
        pretraining = PretrainingCheckpoints(run, state.run_fingerprint(), world)
        if checkpoint is not None:
            restore(state, checkpoint)
            pretraining.delete()  # a kill may have come between the two
        elif not pretrain(state, pretraining, stop):
            return stop.exit_code
        metrics = ClassifierMetricsLogger.create(
            run, state.config, state.task.names, step=state.step, total_steps=state.total_steps,
            is_resumed=checkpoint is not None, world=world,
        )  # fmt: skip
        checkpoints = Checkpoints(state, run, mirror)
        with metrics, checkpoints.writer:
            evaluator = Evaluator(state.averaged, state.task, world)
            if checkpoint is None:
                first_evaluation(checkpoints, state, pretraining, evaluator, metrics)
            stopped = train_loop(checkpoints, state, evaluator, metrics, stop)
            checkpoints.writer.finish()
            if stopped:
                return stop.exit_code
            finalize(state, evaluator, metrics)
    return 0


def setup_run(
    package: str, output_dir: Path | None, resume: str, mirror: str | None = None
) -> tuple[World, Path]:
    """Check and take the run directory, then start Horovod and logging. Every rank must call.

    Args:
        output_dir: the run directory; None takes ``runs/<package>/<time>``.
        mirror: URL of the copies of its checkpoints.

    Raises:
        UserError: the run directory is in use, there is nothing at the path `resume`, or the
            mirror cannot be written.
    """
    world = init()
    setup_logging(world, None)
    output_dir = output_dir or default_run_dir(package)
    if world.is_root:
        problems = Problems()
        check_output_dir(output_dir, resume, problems, mirror)
        problems.raise_if_any()  # before a log is written into another run's directory
        hold_run_dir(output_dir)
    # Each rank's clock would give another default.
    output_dir = Path(broadcast_object(str(output_dir)))
    setup_logging(world, output_dir)
    return world, output_dir


def pretrain(state: TrainState, checkpoints: PretrainingCheckpoints, stop: StopFlag) -> bool:
    """Run the task's pretraining on a fresh model; return whether it was completed."""
    done = state.task.pretrain(state.model, state.world, checkpoints, lambda: stop.requested)
    if state.averaged is not state.model:
        state.averaged.set_weights(state.model.get_weights())
    state.seconds += checkpoints.seconds
    return done


def first_evaluation(
    checkpoints: Checkpoints,
    state: TrainState,
    pretraining: PretrainingCheckpoints,
    evaluator: Evaluator,
    metrics: ClassifierMetricsLogger,
) -> None:
    """Score val before the first step, and replace pretraining's checkpoints by one of training."""
    validate(state, evaluator, metrics, checkpoints.writer)
    if pretraining.is_used:
        checkpoints.write()
        checkpoints.writer.finish()
        pretraining.delete()


def train_loop(
    checkpoints: Checkpoints,
    state: TrainState,
    evaluator: Evaluator,
    metrics: ClassifierMetricsLogger,
    stop: StopFlag,
) -> bool:
    """Make the remaining steps; evaluate, checkpoint and log on the way.

    Returns:
        Whether a rank was asked to stop before the last step. The checkpoint is being written.
    """
    eval_every = state.eval_every
    checkpoint_every = state.config.checkpoint_every or eval_every
    for batch in batches(state):
        if state.step == state.total_steps or state.out_of_patience():
            break
        began = perf_counter()
        sums = train_step(state, metrics, batch, stop, checkpoints.writer)
        done = state.step == state.total_steps
        improved = False
        if done or state.step % eval_every == 0:
            improved = validate(state, evaluator, metrics, checkpoints.writer)
        if done or improved or sums.stop or state.step % checkpoint_every == 0:
            state.seconds += perf_counter() - began
            began = perf_counter()
            check_weights(state, checkpoints.writer)
            checkpoints.write(is_best=improved)
        state.seconds += perf_counter() - began
        if sums.stop and not done:
            return True
    return False


def batches(state: TrainState) -> Iterator[TrainStep]:
    """This rank's shard of each global batch, from the state's position on, without end."""
    return train_steps(
        state.num_train,
        global_batch_size=state.config.global_batch_size,
        seed=state.config.seed,
        rank=state.world.rank,
        size=state.world.size,
        start=state.position,
        tail="short",
        order=state.task.order,
    )


def train_step(
    state: TrainState,
    metrics: ClassifierMetricsLogger,
    batch: TrainStep,
    stop: StopFlag,
    writer: CheckpointWriter,
) -> StepSums:
    """One optimizer update from this rank's shard of the global batch.

    Losses are summed and divided by the global number of samples, so the gradients of all ranks
    add up to those of the mean over the global batch, also for a short last one.

    Args:
        stop: once it is set, the other ranks learn of it in the gradients' collective.
        writer: of checkpoints; so do they of a checkpoint that could not be written.
    """
    began = perf_counter()
    beat("data", state.step)
    samples = state.task.get_batch(batch.epoch, batch.indices)
    read = perf_counter()
    beat(state.steps.phase, state.step)
    gradients = state.steps.summed_gradients(
        samples, batch.num_samples, stop.requested, failed=writer.failed
    )
    sums = gradients.sums
    if sums.failed:
        writer.raise_failure()

    def explain() -> list[str]:
        found = diagnose(state.model, samples, gradients.own, batch.indices.tolist())
        return gather_texts(found)

    check_finite(
        {"loss": sums.loss, "gradient": state.steps.gradient_norm(gradients.summed)},
        step=state.step + 1, is_finite_here=math.isfinite(gradients.own_loss),
        gather=after(writer), hint=NOT_FINITE_HINT, explain=explain,
        rerun=lambda: rerun(state, writer),
    )  # fmt: skip
    checked = perf_counter()
    learning_rate = state.learning_rate()
    beat(state.steps.phase, state.step)
    state.steps.update(gradients.summed, learning_rate, state.step)
    updated = perf_counter()
    state.step, state.position = state.step + 1, batch.position
    metrics.log_step(
        state.step,
        state.position.epoch,
        loss=sums.loss / batch.num_samples,
        accuracy=sums.correct / batch.num_samples,
        learning_rate=learning_rate,
        num_samples=batch.num_samples,
        times=StepTimes(read - began, gradients.waited, updated - began, updated - checked),
    )
    return sums


def check_weights(state: TrainState, writer: CheckpointWriter) -> None:
    """Check that the weights are finite, before a checkpoint of them is written.

    Raises:
        UserError: on all ranks, they are not.
    """
    weights = [variable.value for variable in state.model.trainable_variables]
    check_finite(
        {"size of the weights": state.steps.gradient_norm(weights)}, step=state.step,
        is_finite_here=True, gather=after(writer), hint=NOT_FINITE_HINT,
    )  # fmt: skip


def after(writer: CheckpointWriter) -> Callable[[bool], list[bool]]:
    """`gather_flags`, once the checkpoint that is being written is complete: no rank may end the
    run before."""

    def gather(flag: bool) -> list[bool]:
        writer.wait()
        return gather_flags(flag)

    return gather


def rerun(state: TrainState, writer: CheckpointWriter) -> str:
    """The command that makes the next step again."""
    return rerun_command(
        state.task.names.package.replace("_", "-"), writer.run, state.world.size,
        has_checkpoint=writer.has_saved, mirror=bool(state.config.mirror),
    )  # fmt: skip


TEXT_BYTES = 500


def gather_texts(text: str) -> list[str]:
    """The beginnings of the texts of all ranks. Every rank must call."""
    row = text.encode()[:TEXT_BYTES].ljust(TEXT_BYTES)
    return [row.decode(errors="ignore").rstrip() for row in allgather_rows(row)]


def gather_flags(flag: bool) -> list[bool]:
    """The flags of all ranks. Every rank must call."""
    return [bool(row[0]) for row in allgather_rows(bytes([flag]))]


def validate(
    state: TrainState,
    evaluator: Evaluator,
    metrics: ClassifierMetricsLogger,
    writer: CheckpointWriter,
) -> bool:
    """Score the val split; return whether its loss is the best so far."""
    score = evaluator.score("val")
    if score is None:
        return False
    check_finite(
        {"val loss": score.loss}, step=state.step, is_finite_here=True, gather=after(writer),
        hint=NOT_FINITE_HINT,
    )  # fmt: skip
    metrics.log_score(state.step, state.position.epoch, "val", score, state.seconds)
    if state.step == 0:
        return False
    improved = score.loss < state.best_val_loss
    state.best_val_loss = min(score.loss, state.best_val_loss)
    state.evals_since_best = 0 if improved else state.evals_since_best + 1
    return improved
