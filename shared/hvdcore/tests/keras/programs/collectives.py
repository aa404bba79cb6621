"""Cases on plain collectives, broadcast, statistics and exact evaluation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import hvdcore.keras as hvk
from hvdcore.errors import UserError
from hvdcore.runtime.world import World


def case_sums(world: World, out: Path) -> Any:
    # 2^53 + 1 and 1 + 2^-40 survive only if nothing passes through a narrower type.
    big = hvk.allreduce_sum(np.array([2**53, world.rank], dtype=np.int64))
    fine = hvk.allreduce_sum(np.array([world.rank * 2.0**-40 + 1.0]))
    empty = hvk.allreduce_sum(np.zeros((0, 3)))
    scalar = hvk.allreduce_sum(np.float64(world.rank + 1))
    return [big.tolist(), fine.tolist(), list(empty.shape), scalar.tolist()]


def case_any_rank(world: World, out: Path) -> Any:
    return [hvk.any_rank(world.rank == 1), hvk.any_rank(False), hvk.any_rank(True)]


def case_barrier(world: World, out: Path) -> Any:
    """Whether a rank finds, after the barrier, what the last one did late before it."""
    written = out / "written-late"
    if world.rank == world.size - 1:
        time.sleep(0.5)
        written.touch()
    hvk.barrier()
    return written.exists()


def case_objects(world: World, out: Path) -> Any:
    mine = {"rank": world.rank, "text": "ä" * (world.rank + 1)}
    return [hvk.broadcast_object(mine), hvk.broadcast_object([world.rank, None], root_rank=1)]


def _model() -> Any:
    keras.utils.set_random_seed(7)
    layers = [
        keras.Input((3,)),
        keras.layers.Dense(4),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1),
    ]
    return keras.Sequential(layers)


def case_broadcast(world: World, out: Path) -> Any:
    """Ranks differ in every weight, slot and seed before; only seeds may differ after."""
    model = _model()
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse")
    model.optimizer.build(model.trainable_variables)
    for variable in [*model.weights, *model.optimizer.variables]:
        variable.assign(variable + world.rank + 1)
    before = _fails(lambda: hvk.check_same_weights(model))
    hvk.broadcast_model(model, root_rank=1)
    hvk.broadcast_model(model, root_rank=1)
    slots = [float(np.sum(v.numpy())) for v in model.optimizer.variables]
    seeds = [v.numpy().tolist() for v in model.variables if v.name == "seed_generator_state"]
    return {
        "before": before,
        "after": hvk.check_same_weights(model),
        "slots": slots,
        "seeds": seeds,
        "bias": model.layers[0].bias.numpy().tolist(),
    }


def case_broadcast_of_unlike_models(world: World, out: Path) -> Any:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4 + world.rank)])
    return _fails(lambda: hvk.broadcast_model(model))


def case_statistics(world: World, out: Path) -> Any:
    model = _model()
    norm = model.layers[1]
    norm.moving_mean.assign([1.0 + 2 * world.rank] * 4)
    norm.moving_variance.assign([0.1] * 4)  # equal values must stay equal to the bit
    hvk.average_statistics(model)
    unchanged = bool((norm.moving_variance.numpy() == np.float32(0.1)).all())
    return [norm.moving_mean.numpy().tolist(), unchanged]


def case_evaluate(world: World, out: Path) -> Any:
    """Shards of 5 and 2 samples, then 7 and none: both are the same 7 samples."""
    x = np.arange(7, dtype="float32")[:, None]
    y = np.array([0, 1, 4, 9, 16, 25, 36], dtype="float32")[:, None]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(loss="mse", metrics=["mae"])

    def on(first: int) -> dict[str, float]:
        share = slice(0, first) if world.rank == 0 else slice(first, None)
        return hvk.evaluate(
            model, tf.data.Dataset.from_tensor_slices((x[share], y[share])).batch(2)
        )

    empty_last = on(7)
    uneven = on(5)
    return [empty_last, uneven, float(model.metrics[0].count.numpy())]


def _fails(action: Any) -> str | None:
    try:
        action()
    except (UserError, RuntimeError) as error:
        return str(error)
    return None
