"""Owns the training of Keras classifiers on all ranks: loop, exact scores, checkpoints, results.

A package brings a `Task` (data, model, batches) and calls `train`; `loop` is what then happens.
"""

from hvdcore.classifier.keras.evaluate import (
    Answers,
    Classifier,
    evaluate,
    probabilities_of_all,
    score_run,
)
from hvdcore.classifier.keras.open_data import open_on_all_ranks
from hvdcore.classifier.keras.pretraining import Pretraining
from hvdcore.classifier.keras.saved_model import load_model, save_model
from hvdcore.classifier.keras.task import Batch, EvalTask, Inputs, Task, filled_up, smoothed
from hvdcore.classifier.keras.train import begin, train

__all__ = [
    "Answers",
    "Batch",
    "Classifier",
    "EvalTask",
    "Inputs",
    "Pretraining",
    "Task",
    "begin",
    "evaluate",
    "filled_up",
    "load_model",
    "open_on_all_ranks",
    "probabilities_of_all",
    "save_model",
    "score_run",
    "smoothed",
    "train",
]
