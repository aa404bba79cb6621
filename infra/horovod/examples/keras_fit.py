"""Keras 3 on several ranks with `compile` and `fit`.

Start: horovodrun -np 2 python keras_fit.py
"""

import hashlib
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import horovod.tensorflow.keras as hvd
import keras
import numpy as np


def made_data() -> tuple[np.ndarray, np.ndarray]:
    """512 points of the plane; the class of each says on which side of a circle it is."""
    points = np.random.default_rng(0).normal(size=(512, 2)).astype("float32")
    return points, (np.linalg.norm(points, axis=1) > 1.2).astype("int32")


def digest(model: keras.Model) -> str:
    """The same text on two ranks only if their weights are the same to the bit."""
    return hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()


def main() -> None:
    hvd.init()
    keras.utils.set_random_seed(hvd.rank())  # other weights on each rank, until the broadcast
    points, classes = (array[hvd.rank() :: hvd.size()] for array in made_data())

    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(32, "tanh"), keras.layers.Dense(2)]
    )
    optimizer = hvd.DistributedOptimizer(keras.optimizers.SGD(0.1 * hvd.size(), momentum=0.9))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    callbacks = [
        hvd.callbacks.BroadcastGlobalVariablesCallback(0),
        hvd.callbacks.MetricAverageCallback(),
        hvd.callbacks.LearningRateWarmupCallback(initial_lr=0.1 * hvd.size(), warmup_epochs=2),
    ]
    history = model.fit(
        points, classes, batch_size=16, epochs=8, callbacks=callbacks, verbose=0
    ).history
    first, last = history["loss"][0], history["loss"][-1]
    print(f"rank {hvd.rank()} of {hvd.size()}: loss {first:.4f} -> {last:.4f}, {digest(model)}")


if __name__ == "__main__":
    main()
