"""A process that trains in bursts: `keras_rank.py images|news KIND [INDEX]`.

The same network, optimizer and samples in all; the peers take Keras's own layers. `input` bursts
time the input pipeline alone.
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
from keras_work import Work

Step = Callable[[npt.NDArray[np.int64]], None]
"""One step on these samples."""


def our_step(work: Work, overlap: bool | None = None, wire_dtype: str = "float32") -> Step:
    """A step as our trainers make it, without its running average."""
    import hvdcore.keras
    from hvdcore.classifier.keras import Batch
    from hvdcore.classifier.keras.state import Steps
    from hvdcore.keras.adamw import RowwiseAdamW

    world = hvdcore.keras.init()
    model = work.new_model()
    optimizer = RowwiseAdamW.from_config(work.new_optimizer().get_config())
    optimizer.build(model.trainable_variables)
    if overlap is None:
        overlap = world.size > world.local_size
    steps = Steps(
        model, model, optimizer, ema_decay=0.0, xla=False, overlap=overlap, wire_dtype=wire_dtype
    )

    def step(samples: npt.NDArray[np.int64]) -> None:
        inputs, targets = work.batch(samples)
        batch = Batch.padded(inputs, targets, len(samples))
        gradients = steps.summed_gradients(batch, len(samples) * world.size, False)
        steps.update(gradients.summed, work.learning_rate, 0)

    return step


def keras_step(work: Work) -> Step:
    """A step of one process as Keras's users make it."""
    model, optimizer = work.peer_model(), work.new_optimizer()
    model.compile(optimizer=optimizer, loss=work.loss, jit_compile=False)

    def step(samples: npt.NDArray[np.int64]) -> None:
        inputs, targets = work.batch(samples)
        model.train_on_batch(list(inputs) if len(inputs) > 1 else inputs[0], targets)

    return step


def mwms_step(work: Work) -> Step:
    """A step under `MultiWorkerMirroredStrategy`, in a loop of one's own.

    `fit` fails there: Keras 3.15 hands its `PerReplica` batches to the model as they are.
    """
    import tensorflow as tf

    _bear_silence()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model, optimizer = work.peer_model(), work.new_optimizer()
        optimizer.build(model.trainable_variables)

    def replica(inputs: Any, targets: Any) -> None:
        with tf.GradientTape() as tape:
            logits = model(inputs[0] if len(inputs) == 1 else list(inputs), training=True)
            loss = work.loss(targets, logits) / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply(gradients, model.trainable_variables)  # adds up over the replicas

    compiled = tf.function(
        lambda inputs, targets: strategy.run(replica, args=(inputs, targets)),
        autograph=False, reduce_retracing=True,
    )  # fmt: skip

    def step(samples: npt.NDArray[np.int64]) -> None:
        inputs, targets = work.batch(samples)
        compiled(tuple(tf.constant(part) for part in inputs), tf.constant(targets))

    return step


def _bear_silence() -> None:
    """Between its turns a worker is stopped, which the other would take for its death after 10 s.

    The strategy configures the same, but for the time, if nobody has.
    """
    from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
    from tensorflow.python.eager import context

    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=2)],
        heartbeat_timeout_in_ms=3_600_000,
    )


def input_step(work: Work) -> Step:
    """Reading and changing a batch, and no training."""
    return work.read


def in_turn_step(work: Work) -> Step:
    """Ours, where the sums begin only when the backward pass is over."""
    return our_step(work, overlap=False)


KINDS: dict[str, Callable[[Work], Step]] = {
    "ours": our_step,
    "ours_16_bit": lambda work: our_step(work, wire_dtype="bfloat16"),
    "in_turn": in_turn_step,
    "keras": keras_step,
    "mwms": mwms_step,
    "input": input_step,
}


def find_work(name: str) -> Work:
    """What is trained, by name."""
    if name == "images":
        from image_work import ImageWork

        return ImageWork()
    from news_work import NewsWork

    return NewsWork()


def main(name: str, kind: str, index: int) -> None:
    """Serve bursts. `index` is the worker's place, for the strategy that wants to be told."""
    if kind == "mwms":
        workers = json.loads(os.environ["HVD_BENCH_WORKERS"])
        task = {"type": "worker", "index": index}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
    work = find_work(name)
    step = KINDS[kind](work)

    def burst(samples: int, steps: int) -> dict[str, Any]:
        def run(number: int) -> None:
            for place in range(number):
                step(np.arange(samples) + 7 * place % (work.num_samples - samples))

        run(2)
        faults, started = page_faults(), time.perf_counter()
        run(steps)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "page_faults": page_faults() - faults}

    serve(burst)


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    # A rank on a host of its own is told its place by the environment.
    place = sys.argv[3] if len(sys.argv) > 3 else os.environ.get("RANK", "0")
    main(sys.argv[1], sys.argv[2], int(place))
