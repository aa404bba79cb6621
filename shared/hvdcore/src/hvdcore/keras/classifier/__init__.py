"""Owns the training of Keras classifiers on all ranks: loop, exact scores, checkpoints, results.

A package brings a `Task` (data, model, batches) and calls `train`; `loop` is what then happens.
"""

from hvdcore.keras.classifier.batch import Batch, Inputs, filled_up, smoothed
from hvdcore.keras.classifier.evaluation import Answers, Classifier, evaluate, probabilities_of_all
from hvdcore.keras.classifier.loop import begin, train
from hvdcore.keras.classifier.open_data import open_on_all_ranks
from hvdcore.keras.classifier.pretraining import Pretraining
from hvdcore.keras.classifier.saved_model import load_model, save_model
from hvdcore.keras.classifier.scoring import score_run
from hvdcore.keras.classifier.task import EvalTask, Task

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
