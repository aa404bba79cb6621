"""Runs the old and the new line of each row in rows.json; writes what happened to outcomes.json.

Usage: migration_lines.py FOLDER. "ran", or the error, or the warning.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import horovod.tensorflow as hvd_tf
import horovod.tensorflow.keras as hvd
import numpy as np
import tensorflow as tf
import torch


def names(folder: Path) -> dict[str, Any]:
    """What a script has before the line."""
    model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])
    opt = tf.keras.optimizers.SGD(0.1)
    model.compile(opt, "mse")
    opt.build(model.trainable_variables)
    x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
    torch.save({"net": torch.nn.Linear(1, 1)}, folder / "checkpoint.pt")
    return {
        "folder": str(folder),
        "hvd": hvd,
        "hvd_tf": hvd_tf,
        "tf": tf,
        "torch": torch,
        "model": model,
        "model_fn": lambda: model,
        "opt": opt,
        "torch_opt": torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 0.1),
        "loss": lambda: tf.reduce_mean((model(x) - y) ** 2),
        "batches": ((x, y) for _ in range(2)),
        "x": x,
        "y": y,
    }


def outcome(line: str, folder: Path) -> str:
    given = names(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            exec(line, given)  # noqa: S102 (lines of our own table)
        except (Exception, UserWarning) as error:
            return f"{type(error).__name__}: {error}"
    return "ran"


def main() -> None:
    hvd.init()
    folder = Path(sys.argv[1])
    rows = json.loads((folder / "rows.json").read_text())
    found = {before: [outcome(before, folder), outcome(after, folder)] for before, after in rows}
    (folder / "outcomes.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
