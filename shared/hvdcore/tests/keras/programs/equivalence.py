"""One rank of the proof that N ranks train what one rank trains, at one global batch.

Usage: equivalence.py HOW...; HOW is ours, horovod (its own optimizer) or plain (the control).
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import keras
import numpy as np

import hvdcore.keras as hvk
from hvdcore.runtime.world import World
from hvdcore.testing.ranks import save_result

GLOBAL_BATCH = 12
STEPS = 10


def samples() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    words = random.integers(0, 20, size=(GLOBAL_BATCH * STEPS, 6))
    return words, (words.sum(axis=1, keepdims=True) % 7).astype("float32")


def model_of_words() -> Any:
    keras.utils.set_random_seed(5)
    words = keras.Input((6,), dtype="int64")
    hidden = keras.layers.GRU(4)(keras.layers.Embedding(20, 4)(words))
    return keras.Model(words, keras.layers.Dense(1)(hidden))


def train(world: World, how: str) -> dict[str, Any]:
    model = model_of_words()
    hvk.broadcast_model(model)
    optimizer = keras.optimizers.Adam(0.02, global_clipnorm=1.0)
    if how == "ours":
        optimizer = hvk.DistributedOptimizer(optimizer)
    elif how == "horovod":
        import horovod.tensorflow.keras

        optimizer = horovod.tensorflow.keras.DistributedOptimizer(optimizer)
    model.compile(optimizer=optimizer, loss="mse")
    x, y = samples()
    losses = []
    share = GLOBAL_BATCH // world.size
    for step in range(STEPS):
        first = step * GLOBAL_BATCH + world.rank * share
        loss = model.train_on_batch(x[first : first + share], y[first : first + share])
        model.reset_metrics()
        losses.append(float(hvk.allreduce_sum(np.array([float(loss)]))[0]) / world.size)
    try:
        agreement = hvk.check_same_weights(model)
    except RuntimeError as error:
        agreement = str(error)
    weights = np.concatenate([w.numpy().ravel() for w in model.weights])
    return {"losses": losses, "weights": weights.tolist(), "agreement": agreement}


def main(hows: list[str]) -> None:
    warnings.simplefilter("ignore")
    world = hvk.init()
    save_result({how: train(world, how) for how in hows})


if __name__ == "__main__":
    main(sys.argv[1:])
