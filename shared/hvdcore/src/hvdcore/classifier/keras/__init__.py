"""The training of Keras classifiers on all ranks: loop, exact scores, checkpoints, results.

A package implements `Task` (its data, model and batches) and calls `train`, which has the training
loop of all classifiers here. A Keras script that calls `model.fit` uses `hvdcore.keras` instead.
"""

import hvdcore.keras  # noqa: F401  (first: it loads TensorFlow silently)
from hvdcore.classifier.keras.data import prepare_distributed
from hvdcore.classifier.keras.evaluate import Predictor, evaluate_run
from hvdcore.classifier.keras.pretraining import PretrainingCheckpoints
from hvdcore.classifier.keras.saved_model import load_model, save_model
from hvdcore.classifier.keras.settings import use_own_settings
from hvdcore.classifier.keras.task import Batch, EvalTask, Inputs, Task, pad_rows, smooth_labels
from hvdcore.classifier.keras.train import gather_flags, setup_run, train

__all__ = [
    "Batch",
    "EvalTask",
    "Inputs",
    "Predictor",
    "PretrainingCheckpoints",
    "Task",
    "evaluate_run",
    "gather_flags",
    "load_model",
    "pad_rows",
    "prepare_distributed",
    "save_model",
    "setup_run",
    "smooth_labels",
    "train",
]

use_own_settings()
