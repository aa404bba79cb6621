"""A process that trains the image benchmark's model in bursts: `images_rank.py ours|keras|mwms`.

The same network, optimizer and pictures in all; `data` and `input` bursts time the input pipeline
alone.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from jobs import serve

SIZE, CLASSES = 64, 6
LEARNING_RATE = 1e-3
Pictures = npt.NDArray[np.uint8]
Step = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], None]


def new_model() -> Any:
    """The CNN and its optimizer, as `image-cls train` makes them."""
    import keras

    from image_cls.config import TrainConfig
    from image_cls.models import build_model

    model = build_model(TrainConfig(), SIZE, CLASSES, 0)
    return model, keras.optimizers.AdamW(LEARNING_RATE, weight_decay=0.05, beta_2=0.99)


def our_step() -> Step:
    """A step as `image-cls train` makes it, without its running average."""
    import hvdcore.keras
    from hvdcore.keras.classifier import Batch, smoothed
    from hvdcore.keras.classifier.steps import Steps

    world = hvdcore.keras.init()
    model, optimizer = new_model()
    optimizer.build(model.trainable_variables)
    steps = Steps(model, model, optimizer, ema_decay=0.0, xla=False)

    def step(images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> None:
        batch = Batch.of((images,), smoothed(labels, CLASSES, 0.1), len(labels))
        gradients, _ = steps.reduce(steps.gradients(batch, len(labels) * world.size, False))
        steps.update(gradients, LEARNING_RATE, 0)

    return step


def keras_step() -> Step:
    """A step of one process as Keras's users make it."""
    import keras

    model, optimizer = new_model()
    model.compile(
        optimizer=optimizer, loss=keras.losses.CategoricalCrossentropy(True, 0.1),
        jit_compile=False,
    )  # fmt: skip
    targets = np.eye(CLASSES, dtype=np.float32)
    return lambda images, labels: model.train_on_batch(images, targets[labels])


def mwms_step() -> Step:
    """A step under `MultiWorkerMirroredStrategy`, in a loop of one's own.

    `fit` fails there: Keras 3.15 hands its `PerReplica` batches to the model as they are.
    """
    import keras
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model, optimizer = new_model()
        optimizer.build(model.trainable_variables)
    targets = np.eye(CLASSES, dtype=np.float32)
    losses = keras.losses.CategoricalCrossentropy(True, 0.1, reduction="sum")

    def replica(images: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            size = tf.cast(tf.shape(images)[0] * strategy.num_replicas_in_sync, tf.float32)
            loss = losses(labels, model(images, training=True)) / size
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply(gradients, model.trainable_variables)  # adds up over the replicas

    compiled = tf.function(
        lambda images, labels: strategy.run(replica, args=(images, labels)), autograph=False
    )
    return lambda images, labels: compiled(tf.constant(images), tf.constant(targets[labels]))


def input_step() -> Step:
    """Reading and changing a batch, and no training."""
    from image_cls.batches import BatchReader
    from image_cls.config import TrainConfig
    from image_cls.image_data import Part

    pixels, labels = pictures()
    reader: dict[int, BatchReader] = {}
    names = [""] * len(labels)

    def step(images: npt.NDArray[np.float32], answers: npt.NDArray[np.int64]) -> None:
        rows = len(answers)
        if rows not in reader:
            reader[rows] = BatchReader(Part(pixels, labels, names), CLASSES, rows, TrainConfig())
        reader[rows].read(0, np.arange(rows))

    return step


def pictures() -> tuple[Pictures, npt.NDArray[np.int64]]:
    """Noise: what the pictures show does not change the time."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (512, SIZE, SIZE, 3)).astype(np.uint8)
    return pixels, draw.integers(0, CLASSES, 512)


KINDS = {"ours": our_step, "keras": keras_step, "mwms": mwms_step, "input": input_step}


def main(kind: str, index: int) -> None:
    """Serve bursts. `index` is the worker's place, for the strategy that wants to be told."""
    if kind == "mwms":
        workers = [f"127.0.0.1:{port}" for port in json.loads(os.environ["HVD_BENCH_PORTS"])]
        task = {"type": "worker", "index": index}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
    step = KINDS[kind]()
    pixels, labels = pictures()

    def burst(pictures: int, steps: int) -> dict[str, Any]:
        def run(number: int) -> None:
            for place in range(number):
                start = 7 * place % (len(labels) - pictures)
                rows = slice(start, start + pictures)
                step(pixels[rows].astype(np.float32), labels[rows])

        run(2)
        faults, started = page_faults(), time.perf_counter()
        run(steps)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "page_faults": page_faults() - faults}

    serve(burst)


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
