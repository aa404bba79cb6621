"""Cases under `fit`: agreement of ranks, XLA, mixed precision, callbacks, saving."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np

import hvdcore.keras as hvk
from hvdcore.errors import UserError
from hvdcore.metrics.schedule import learning_rate_at
from hvdcore.runtime.signals import StopFlag
from hvdcore.runtime.world import World

_random = np.random.default_rng(3)
DENSE = _random.normal(size=(16, 3)).astype("float32")
WORDS = _random.integers(0, 6, size=(16, 4))
TARGET = _random.normal(size=(16, 1)).astype("float32")


def built(world: World, *, unused: bool = True) -> Any:
    """A model with a table (sparse gradients); `unused` adds a weight without a gradient."""
    keras.utils.set_random_seed(100 + world.rank)  # ranks differ until the broadcast
    if world.rank == 0:
        keras.layers.Dense(1).build((None, 1))  # layer names differ between ranks from here on
    numbers, words = keras.Input((3,)), keras.Input((4,), dtype="int64")
    table = keras.layers.Flatten()(keras.layers.Embedding(6, 2)(words))
    hidden = keras.layers.Dense(5, activation="tanh")(keras.layers.Concatenate()([numbers, table]))
    model = keras.Model([numbers, words], keras.layers.Dense(1)(hidden))
    if unused:
        model.orphan = model.add_weight(shape=(2,), name="orphan")
    return model


def fitted(world: World, model: Any, *callbacks: Any, epochs: int = 2, **options: Any) -> Any:
    mine = slice(8 * world.rank, 8 * world.rank + 8)
    return model.fit(
        [DENSE[mine], WORDS[mine]],
        TARGET[mine],
        batch_size=2,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[hvk.BroadcastModel(), hvk.ReduceMetrics(), *callbacks],
        **options,
    )


def case_agreement(world: World, out: Path) -> Any:
    hashes = {}
    for optimizer in (
        keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True),
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 8), clipnorm=0.1),
        keras.optimizers.AdamW(0.01, gradient_accumulation_steps=2),
    ):
        model = built(world)
        model.compile(optimizer=hvk.DistributedOptimizer(optimizer), loss="mse")
        fitted(world, model)
        hashes[optimizer.name] = hvk.check_same_weights(model)
    return hashes


def case_metrics(world: World, out: Path) -> Any:
    """What the history says must be what one process says of all samples."""
    model = built(world, unused=False)
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse", metrics=["mae"])
    hvk.distribute(model)
    first = 5 if world.rank == 0 else 11  # validation shards of 5 and 11 samples
    share = slice(0, 5) if world.rank == 0 else slice(16 - first, 16)
    validation = ([DENSE[share], WORDS[share]], TARGET[share])
    history = fitted(world, model, epochs=1, validation_data=validation).history
    error = model.predict([DENSE, WORDS], verbose=0) - TARGET
    expected = [float(np.mean(error**2)), float(np.mean(np.abs(error)))]
    return {"history": {k: v[0] for k, v in history.items()}, "expected": expected}


def case_schedule(world: World, out: Path) -> Any:
    rates: list[float] = []

    def at_step(step: int) -> float:
        rate = learning_rate_at(
            step, peak=0.4, warmup_steps=3, total_steps=8, final_fraction=0.0, shape="linear"
        )
        rates.append(rate)
        return rate

    model = built(world)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    hvk.distribute(model)
    history = fitted(world, model, hvk.LearningRate(at_step))
    return {"rates": rates, "logged": history.history["learning_rate"]}


class _AtStep(keras.callbacks.Callback):
    def __init__(self, step: int, action: Any) -> None:
        super().__init__()
        self.step, self.action = step, action

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if int(self.model.optimizer.iterations) == self.step:
            self.action(self.model)


def case_stop(world: World, out: Path) -> Any:
    """Rank 1 alone is asked to stop, once by a signal and once by another callback."""
    results = []
    with StopFlag() as flag:
        for action in (
            lambda model: os.kill(os.getpid(), signal.SIGTERM),
            lambda model: setattr(model, "stop_training", True),
        ):
            model = built(world)
            model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
            hvk.distribute(model)
            stop = hvk.StopTogether(flag)
            trigger = [_AtStep(6, action)] if world.rank == 1 else []
            fitted(world, model, *trigger, stop, epochs=3)
            results.append([int(model.optimizer.iterations), stop.stopped, stop.by_signal])
            flag.signal_number = None
            fitted(world, model, stop, epochs=1)  # a new training knows nothing of the old wish
            results[-1].append(int(model.optimizer.iterations))
    return results


def case_xla(world: World, out: Path) -> Any:
    """The step cut for XLA must train like the plain one; whole under XLA it must say why not."""
    weights = []
    for jit in (False, True):
        model = built(world, unused=False)
        model.compile(optimizer=keras.optimizers.Adam(0.05), loss="mse", jit_compile=jit)
        hvk.distribute(model)
        fitted(world, model)
        hvk.check_same_weights(model)
        weights.append(np.concatenate([w.numpy().ravel() for w in model.weights]).tolist())
    plain = built(world, unused=False)
    optimizer = hvk.DistributedOptimizer(keras.optimizers.SGD(0.1))
    plain.compile(optimizer=optimizer, loss="mse", jit_compile=True)
    try:
        fitted(world, plain)
        message = None
    except UserError as error:
        message = str(error)
    return {"weights": weights, "message": message}


def case_mixed_precision(world: World, out: Path) -> Any:
    """Keras itself puts a LossScaleOptimizer around the optimizer; `distribute` finds it."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = built(world, unused=False)
        optimizer = hvk.DistributedOptimizer(keras.optimizers.Adam(0.01))
        model.compile(optimizer=optimizer, loss="mse", jit_compile=False)
        hvk.distribute(model)
        fitted(world, model)
        return [type(model.optimizer).__name__, hvk.check_same_weights(model)]
    finally:
        keras.config.set_dtype_policy("float32")


def case_save(world: World, out: Path) -> Any:
    model = built(world, unused=False)
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    hvk.distribute(model)
    fitted(world, model)
    if world.is_root:
        model.save(out / "model.keras")
    hvk.barrier()  # the file is complete before another rank reads it
    again = keras.models.load_model(out / "model.keras")
    hvk.distribute(again)  # slots are kept: going on equals never having stopped
    fitted(world, again, epochs=1)
    fitted(world, model, epochs=1)
    return [hvk.check_same_weights(again), hvk.check_same_weights(model)]
