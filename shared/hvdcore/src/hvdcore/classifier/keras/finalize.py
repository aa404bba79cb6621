"""The end of a run: the best weights, their exact scores, the saved model and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hvdcore.classifier.figures import draw_results
from hvdcore.classifier.keras.checkpoints import restore_averaged
from hvdcore.classifier.keras.evaluate import Evaluator
from hvdcore.classifier.keras.metrics_logger import ClassifierMetricsLogger
from hvdcore.classifier.keras.state import TrainState
from hvdcore.classifier.report import ACCURACY, report_values, write_report
from hvdcore.keras.collectives import allreduce_sum, barrier, broadcast_object
from hvdcore.keras.weights import check_same_weights
from hvdcore.metrics.metrics import max_over_ranks
from hvdcore.run.checkpoint import best, load
from hvdcore.run.closing import log_closing
from hvdcore.run.run_dir import RunDir
from hvdcore.run.splits import SPLITS
from hvdcore.tracking.logs import get_logger

__all__ = ["finalize"]

logger = get_logger(__name__)


def finalize(state: TrainState, evaluator: Evaluator, metrics: ClassifierMetricsLogger) -> None:
    """Load the best weights, score all splits, save the model and write the report.

    Every rank must call. Val selects the weights; test is evaluated here alone.
    """
    run, task = metrics.run, state.task
    best_step = load_best_checkpoint(state, run)
    digest = check_same_weights(state.averaged)
    scores = {name: evaluator.score(name) for name in SPLITS}
    shown = "test" if scores["test"] is not None else "val"
    probabilities = evaluator.probabilities(shown)
    seconds = max_over_ranks(metrics.speed.seconds, state.world, allreduce_sum)
    if state.world.is_root:
        if scores["test"] is not None:
            metrics.log_score(
                state.step, state.position.epoch, "test", scores["test"], state.seconds
            )
        task.save(run.model, state.averaged)
        values = {
            **run_values(state, best_step, digest),
            "samples_per_second": metrics.speed.num_units / seconds if seconds else None,
        }
        report = report_values(values, task.report_values(), scores, task.classes)
        run.write_json("report.json", report)
        if probabilities is not None:
            labels = task.splits[shown].labels
            draw_results(run.figures, shown, probabilities, labels, task.classes, task.names)
            task.draw_figures(run, shown, probabilities)
        write_report([run.path], run.report_html, task.names)
        for figure in sorted(run.figures.glob("*.png")):
            metrics.board.add_image(figure.stem, figure.read_bytes(), state.step)
        log_closing(run, ACCURACY, task.names.next_command)
    barrier()


def run_values(state: TrainState, best_step: int, digest: str) -> dict[str, Any]:
    """What report.json records about the run itself."""
    return {
        "schema": 1,
        "package": state.task.names.package,
        "model": state.config.model,
        "num_parameters": state.model.count_params(),
        "size": state.world.size,
        "global_batch_size": state.config.global_batch_size,
        "seed": state.config.seed,
        "epochs": state.position.epoch,
        "steps": state.step,
        "chosen_step": best_step,
        "seconds": state.seconds,
        "weights_sha256": digest,
        "communication": state.steps.communication,
        "num_train_samples": state.num_train,
    }


def load_best_checkpoint(state: TrainState, run: RunDir) -> int:
    """Load the weights with the lowest val loss, unless they are the last; return their step."""
    found = best(run.checkpoints) if state.world.is_root else None
    path = broadcast_object("" if found is None else str(found.path))
    if not path:
        return state.step
    checkpoint = load(Path(path))
    if checkpoint.step != state.step:
        logger.info("the weights of step %d had the lowest val loss", checkpoint.step)
        restore_averaged(state, checkpoint)
    return checkpoint.step
