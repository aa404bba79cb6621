"""The training of a classifier on all ranks, from an empty run directory to the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

from hvdcore.classifier.config import ClassifierConfig
from hvdcore.classifier.keras.checkpoints import identity, restore, write_checkpoint
from hvdcore.classifier.keras.finish import Evaluation, Record, finish
from hvdcore.classifier.keras.pretraining import Pretraining
from hvdcore.classifier.keras.state import StepSums, Training, build_training
from hvdcore.classifier.keras.task import Task
from hvdcore.errors import Problems
from hvdcore.keras.collectives import broadcast_object
from hvdcore.keras.startup import init
from hvdcore.run.metrics_logger import StepTimes
from hvdcore.run.run_dir import default_run_dir
from hvdcore.run.start import look_at_places, start_run
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.signals import StopFlag
from hvdcore.runtime.world import World
from hvdcore.sharding import TrainStep, train_steps
from hvdcore.tracking.logs import setup_logging

__all__ = ["begin", "train"]


def train(
    package: str,
    config: ClassifierConfig,
    open_task: Callable[[World], Task],
    output_dir: Path | None,
    resume: str,
) -> int:
    """Train as configured; every rank calls this, under any launcher or none.

    Args:
        package: the distribution that trains.
        open_task: prepares the data and opens it; every rank calls it.
        output_dir: the run directory; None takes ``runs/<package>/<time>``.
        resume: ``never``, ``auto`` or the path of a checkpoint or a run.

    Returns:
        The exit code: 0, or 128 + the signal that asked to stop, after saving a checkpoint.
    """
    world, output_dir = begin(package, output_dir, resume)
    training = build_training(open_task(world), world)
    # Not before: until here a signal may end the process at once, and hours of reading with it.
    with StopFlag() as stop:
        run, checkpoint = start_run(
            output_dir, package, config, resume,
            identity=identity(training), world=world, broadcast=broadcast_object,
        )  # fmt: skip
        kept = Pretraining(run, identity(training), world)
        if checkpoint is not None:
            restore(training, checkpoint)
            kept.discard()  # a kill may have come before
        elif not pretrain(training, kept, stop):
            return stop.exit_code
        with Record.of(training, run, None if checkpoint is None else checkpoint.step) as record:
            evaluation = Evaluation(training)
            if checkpoint is None:
                start(training, kept, evaluation, record)
            if fit(training, evaluation, record, stop):
                return stop.exit_code
            finish(training, evaluation, record)
    return 0


def begin(package: str, output_dir: Path | None, resume: str) -> tuple[World, Path]:
    """Start Horovod and the logs, once the folders that the flags name have been looked at. Every
    rank must call.

    Args:
        output_dir: the run directory; None takes ``runs/<package>/<time>``.

    Raises:
        UserError: the run's directory is in use, or nothing is where `resume` says.
    """
    world = init()
    setup_logging(world, None)
    output_dir = output_dir or default_run_dir(package)
    if world.is_root:
        problems = Problems()
        look_at_places(output_dir, resume, problems)
        problems.raise_if_any()  # before a log is put into somebody's folder
    # Each rank's clock would name another default.
    output_dir = Path(broadcast_object(str(output_dir)))
    setup_logging(world, output_dir)
    return world, output_dir


def pretrain(training: Training, kept: Pretraining, stop: StopFlag) -> bool:
    """What the task does with a fresh model; whether it came to its end."""
    done = training.task.pretrain(training.model, training.world, kept, lambda: stop.requested)
    if training.averaged is not training.model:
        training.averaged.set_weights(training.model.get_weights())
    training.seconds += kept.seconds
    return done


def start(training: Training, kept: Pretraining, evaluation: Evaluation, record: Record) -> None:
    """Score val before the first step. What a pretraining kept goes, once it is in a checkpoint."""
    validate(training, evaluation, record)
    if kept.is_used:
        write_checkpoint(training, record.run)
        kept.discard()


def fit(training: Training, evaluation: Evaluation, record: Record, stop: StopFlag) -> bool:
    """Make the steps that are left; evaluate, checkpoint and log on the way.

    Returns:
        Whether a rank was asked to stop before the last step. The checkpoint is written.
    """
    eval_every = training.eval_every
    checkpoint_every = training.config.checkpoint_every or eval_every
    for batch in batches(training):
        if training.step == training.total_steps or training.out_of_patience():
            break
        began = perf_counter()
        sums = update(training, record, batch, stop)
        done = training.step == training.total_steps
        improved = False
        if done or training.step % eval_every == 0:
            improved = validate(training, evaluation, record)
        if done or improved or sums.stop or training.step % checkpoint_every == 0:
            training.seconds += perf_counter() - began
            began = perf_counter()
            write_checkpoint(training, record.run, is_best=improved)
        training.seconds += perf_counter() - began
        if sums.stop and not done:
            return True
    return False


def batches(training: Training) -> Iterator[TrainStep]:
    """This rank's share of each global batch, from where the run stands, without end."""
    return train_steps(
        training.num_train,
        global_batch_size=training.config.global_batch_size,
        seed=training.config.seed,
        rank=training.world.rank,
        size=training.world.size,
        start=training.position,
        tail="short",
        order=training.task.order,
    )


def update(training: Training, record: Record, batch: TrainStep, stop: StopFlag) -> StepSums:
    """One optimizer step on this rank's share of the global batch.

    Losses are summed and divided by the global number of samples, so gradients add up over ranks
    to those of the mean over the whole global batch, its short last one included.

    Args:
        stop: once it is set, the other ranks learn it in the gradients' collective.
    """
    began = perf_counter()
    beat("data", training.step)
    samples = training.task.read(batch.epoch, batch.indices)
    read = perf_counter()
    beat(training.steps.phase, training.step)
    gradients = training.steps.gradients(samples, batch.num_samples, stop.requested)
    computed = perf_counter()
    gradients, sums = training.steps.reduce(gradients)
    reduced = perf_counter()
    learning_rate = training.learning_rate()
    beat(training.steps.phase, training.step)
    training.steps.update(gradients, learning_rate, training.step)
    updated = perf_counter()
    training.step, training.position = training.step + 1, batch.position
    record.step(
        training,
        loss=sums.loss / batch.num_samples,
        accuracy=sums.correct / batch.num_samples,
        learning_rate=learning_rate,
        num_samples=batch.num_samples,
        times=StepTimes(read - began, reduced - computed, updated - began, updated - reduced),
    )
    return sums


def validate(training: Training, evaluation: Evaluation, record: Record) -> bool:
    """Score the val part; whether its loss is the best so far."""
    score = evaluation.score("val")
    if score is None:
        return False
    record.evaluation(training, "val", score)
    if training.step == 0:
        return False
    improved = score.loss < training.best_val_loss
    training.best_val_loss = min(score.loss, training.best_val_loss)
    training.evaluations_without_gain = 0 if improved else training.evaluations_without_gain + 1
    return improved
