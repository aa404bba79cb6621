"""Run by every rank: each case_ function trains with Horovod, and with plain Keras.

Usage: keras_cases.py FOLDER. Keras is Keras 3, or tf_keras where TF_USE_LEGACY_KERAS=1 is set.
Plain Keras gets in one batch what all ranks get together; weights must come out the same.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import horovod.keras as hvd_keras
import horovod.tensorflow as hvd_tf
import horovod.tensorflow.keras as hvd
import numpy as np
import tensorflow as tf
from case_runner import main
from tensorflow import keras

LEGACY = not hasattr(keras, "Variable")
ROWS = np.random.default_rng(0).normal(size=[24, 3]).astype("float32")
TARGETS = np.random.default_rng(1).normal(size=[24, 2]).astype("float32")
WORDS = np.array([[0, 1, 1], [2, 0, 0], [3, 1, 0], [1, 1, 4]] * 2)

Model = Any


def dense_model() -> Model:
    """The same on every rank and in every call."""
    model = keras.Sequential([keras.layers.Input([3]), keras.layers.Dense(2)])
    weights = np.random.default_rng(2).normal(size=[3, 2]).astype("float32")
    model.set_weights([weights, np.zeros(2, "float32")])
    return model


def word_model() -> Model:
    model = keras.Sequential([keras.layers.Input([3]), keras.layers.Embedding(6, 2)])
    weights = np.random.default_rng(3).normal(size=[6, 2]).astype("float32")
    model.set_weights([weights])
    return model


def shard(values: np.ndarray, batch: int) -> np.ndarray:
    """This rank's half of each global batch of 2 * `batch` rows."""
    parts = values.reshape([-1, 2, batch, *values.shape[1:]])
    return parts[:, hvd.rank()].reshape([-1, *values.shape[1:]])


def fit(
    model: Model, optimizer: Any, x: np.ndarray, y: np.ndarray, batch: int, **options: Any
) -> Any:
    model.compile(optimizer, "mse", **options.pop("compile_options", {}))
    return model.fit(x, y, batch_size=batch, shuffle=False, verbose=0, **options)


def apart(a: Model, b: Model) -> float:
    """The largest difference between two models' weights."""
    return max(
        float(np.abs(v - w).max()) for v, w in zip(a.get_weights(), b.get_weights(), strict=True)
    )


def between_ranks(model: Model) -> float:
    """The largest difference between ranks."""
    everyone = hvd_tf.allgather_object(model.get_weights())
    return max(float(np.abs(a - b).max()) for a, b in zip(*everyone, strict=True))


def scores(model: Model, plain: Model, start: Model) -> dict[str, float]:
    return {
        "between_ranks": between_ranks(model),
        "to_one_process": apart(model, plain),
        "moved": apart(model, start),
    }


def trained(
    make: Callable[[], Any], wrap: Callable[[Any], Any], **options: Any
) -> dict[str, float]:
    """`fit` on shards with a wrapped optimizer, against plain `fit` on everything."""
    model, plain = dense_model(), dense_model()
    x, y = shard(ROWS, 2), shard(TARGETS, 2)
    fit(model, wrap(make()), x, y, 2, epochs=2, **options)
    fit(plain, make(), ROWS, TARGETS, 4, epochs=2, **options)
    return scores(model, plain, dense_model())


def sgd() -> Any:
    return keras.optimizers.SGD(0.1, momentum=0.9)


def case_fit() -> dict[str, float]:
    return trained(sgd, hvd.DistributedOptimizer)


def case_fit_without_wrapping() -> dict[str, float]:
    """The control: plain optimizers on shards."""
    return trained(sgd, lambda optimizer: optimizer)


def case_horovod_keras() -> dict[str, float]:
    return trained(sgd, hvd_keras.DistributedOptimizer)


def case_horovod_tensorflow() -> dict[str, float]:
    return trained(sgd, hvd_tf.DistributedOptimizer)


def case_adam_with_clipping() -> dict[str, float]:
    """The norm that is clipped is that of the average."""
    return trained(
        lambda: keras.optimizers.Adam(0.05, global_clipnorm=0.5), hvd.DistributedOptimizer
    )


def case_eager_steps() -> dict[str, float]:
    return trained(sgd, hvd.DistributedOptimizer, compile_options={"run_eagerly": True})


def case_groups() -> dict[str, float]:
    return trained(sgd, lambda o: hvd.DistributedOptimizer(o, groups=1))


def case_predivided() -> dict[str, float]:
    return trained(sgd, lambda o: hvd.DistributedOptimizer(o, gradient_predivide_factor=2.0))


def case_half_precision_gradients() -> dict[str, float]:
    fp16 = hvd.Compression.fp16
    return trained(sgd, lambda o: hvd.DistributedOptimizer(o, compression=fp16))


def case_sum() -> dict[str, float]:
    """Sums at half the learning rate are averages."""
    half, whole = keras.optimizers.SGD(0.05), keras.optimizers.SGD(0.1)
    model, plain = dense_model(), dense_model()
    summing = hvd.DistributedOptimizer(half, op=hvd.Sum)
    fit(model, summing, shard(ROWS, 2), shard(TARGETS, 2), 2)
    fit(plain, whole, ROWS, TARGETS, 4)
    return scores(model, plain, dense_model())


def steps(model: Model, apply: Callable[[Any, list[Any]], None], tape_of: Any, graph: bool) -> None:
    """A loop of one's own over this rank's shards."""

    def step(x: tf.Tensor, y: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
        gradients = tape_of(tape).gradient(loss, model.trainable_variables)
        apply(gradients, model.trainable_variables)

    run = tf.function(step) if graph else step
    x, y = shard(ROWS, 2), shard(TARGETS, 2)
    for i in range(0, len(x), 2):
        run(tf.constant(x[i : i + 2]), tf.constant(y[i : i + 2]))


def own_loop(wrap: Any, tape_of: Any, graph: bool) -> dict[str, float]:
    model, plain = dense_model(), dense_model()
    optimizer = wrap(sgd())
    if LEGACY:
        optimizer.build(model.trainable_variables)

    def apply(gradients: Any, variables: Any) -> None:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    steps(model, apply, tape_of, graph)
    fit(plain, sgd(), ROWS, TARGETS, 4)
    return scores(model, plain, dense_model())


def case_own_loop() -> dict[str, float]:
    return own_loop(hvd.DistributedOptimizer, lambda tape: tape, graph=True)


def case_own_eager_loop() -> dict[str, float]:
    return own_loop(hvd.DistributedOptimizer, lambda tape: tape, graph=False)


def case_tape() -> dict[str, float]:
    return own_loop(lambda o: o, hvd_tf.DistributedGradientTape, graph=True)


def case_tape_and_optimizer() -> dict[str, float]:
    """Both sum: gradients that the tape has summed must not be summed again."""

    def tape_of(tape: Any) -> Any:
        return hvd_tf.DistributedGradientTape(tape, op=hvd.Sum)

    def halved() -> Any:
        optimizer = hvd.DistributedOptimizer(sgd(), op=hvd.Sum)
        optimizer.learning_rate = 0.05
        return optimizer

    return own_loop(lambda _: halved(), tape_of, graph=True)


def case_accumulation() -> dict[str, float]:
    """Two passes a step, averaged: one process's steps of twice the batch."""
    model, plain = dense_model(), dense_model()
    optimizer = hvd.DistributedOptimizer(
        sgd(), backward_passes_per_step=2, average_aggregated_gradients=True
    )
    fit(model, optimizer, shard(ROWS, 4), shard(TARGETS, 4), 2)
    fit(plain, sgd(), ROWS, TARGETS, 8)
    found = scores(model, plain, dense_model())
    return {
        **found,
        "iterations": int(optimizer.iterations),
        "left": int(optimizer._agg_helper.counter),
    }


def case_accumulated_sums() -> dict[str, float]:
    """Not averaged: as twice the learning rate (without momentum)."""
    model, plain = dense_model(), dense_model()
    optimizer = hvd.DistributedOptimizer(keras.optimizers.SGD(0.05), backward_passes_per_step=2)
    fit(model, optimizer, shard(ROWS, 4), shard(TARGETS, 4), 2)
    fit(plain, keras.optimizers.SGD(0.1), ROWS, TARGETS, 8)
    return scores(model, plain, dense_model())


def case_accumulation_with_a_rest() -> dict[str, float]:
    """Three passes and steps of two: weights change once, and one pass is left over."""
    model, plain = dense_model(), dense_model()
    optimizer = hvd.DistributedOptimizer(
        sgd(), backward_passes_per_step=2, average_aggregated_gradients=True
    )
    fit(model, optimizer, shard(ROWS[:12], 2), shard(TARGETS[:12], 2), 2)
    fit(plain, sgd(), ROWS[:8], TARGETS[:8], 8)
    return {**scores(model, plain, dense_model()), "left": int(optimizer._agg_helper.counter)}


def case_accumulation_of_keras() -> dict[str, float]:
    """Keras 3's own gradient_accumulation_steps."""
    if LEGACY:
        return {}
    model, plain = dense_model(), dense_model()
    accumulating = keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2)
    optimizer = hvd.DistributedOptimizer(accumulating)
    fit(model, optimizer, shard(ROWS, 4), shard(TARGETS, 4), 2)
    fit(plain, sgd(), ROWS, TARGETS, 8)
    return scores(model, plain, dense_model())


def words(optimizer: Any) -> dict[str, float]:
    y = np.random.default_rng(4).normal(size=[8, 3, 2]).astype("float32")
    model, plain = word_model(), word_model()
    adam = keras.optimizers.Adam(0.1)
    fit(model, optimizer(adam), shard(WORDS, 2), shard(y, 2), 2)
    dense = keras.optimizers.Adam(0.1)
    plain.compile(dense, "mse")
    for i in range(0, 8, 4):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(plain(WORDS[i : i + 4]) - y[i : i + 4]))
        variables = plain.trainable_variables
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        dense.apply_gradients(zip(gradients, variables, strict=True))
    return scores(model, plain, word_model())


def case_rows_of_an_embedding() -> dict[str, float]:
    """Against one process whose gradient is a full tensor."""
    return words(hvd.DistributedOptimizer)


def case_rows_as_a_full_tensor() -> dict[str, float]:
    return words(lambda o: hvd.DistributedOptimizer(o, sparse_as_dense=True))


def case_process_set() -> dict[str, float]:
    """Rank 1 alone in the set: each rank trains by itself."""
    alone = hvd.add_process_set([1])
    try:
        model, plain = dense_model(), dense_model()
        optimizer = hvd.DistributedOptimizer(sgd(), process_set=alone)
        fit(model, optimizer, shard(ROWS, 2), shard(TARGETS, 2), 2)
        fit(plain, sgd(), shard(ROWS, 2), shard(TARGETS, 2), 2)
        return scores(model, plain, dense_model())
    finally:
        hvd.remove_process_set(alone)


def case_local_layer() -> list[float]:
    """One step of SGD(1) of two layers, the second local: how the second's weights moved."""
    model = keras.Sequential(
        [
            keras.layers.Input([1]),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"),
        ]
    )
    optimizer = hvd_keras.PartialDistributedOptimizer(
        keras.optimizers.SGD(1.0), local_layers=model.layers[-1]
    )
    model.compile(optimizer, "mae")  # of a positive output: its gradient is 1
    model.train_on_batch(np.array([[hvd.rank() + 1.0]]), np.zeros([1, 1]))
    return [1.0 - float(w.ravel()[0]) for w in model.get_weights()]


def mixed(wrap: Callable[[Any], Any]) -> dict[str, float]:
    """Loss scaling; the first gradients of rank 0 are infinite, so no rank may make that step."""
    model, plain = dense_model(), dense_model()
    optimizer = wrap(keras.optimizers.SGD(0.1))
    model.compile(optimizer, "mse", auto_scale_loss=False)
    x, y = shard(ROWS, 2), shard(TARGETS, 2)
    first = np.full_like(x[:2], np.inf) if hvd.rank() == 0 else x[:2]
    model.train_on_batch(first, y[:2])
    for i in range(0, len(x), 2):
        model.train_on_batch(x[i : i + 2], y[i : i + 2])
    fit(plain, keras.optimizers.SGD(0.1), ROWS, TARGETS, 4)
    return scores(model, plain, dense_model())


def case_loss_scaling_outside() -> dict[str, float]:
    """LossScaleOptimizer(DistributedOptimizer(...)), as Keras does it under mixed_float16."""
    if LEGACY:
        return {}
    scale = keras.optimizers.LossScaleOptimizer
    return mixed(lambda o: scale(hvd.DistributedOptimizer(o), initial_scale=4.0))


def case_loss_scaling_inside() -> dict[str, float]:
    if LEGACY:
        return {}
    scale = keras.optimizers.LossScaleOptimizer
    return mixed(lambda o: hvd.DistributedOptimizer(scale(o, initial_scale=4.0)))


def case_mixed_precision() -> dict[str, float]:
    """`compile` under mixed_float16 puts the LossScaleOptimizer around by itself."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = dense_model()
        start = model.get_weights()
        optimizer = hvd.DistributedOptimizer(keras.optimizers.SGD(0.1))
        fit(model, optimizer, shard(ROWS, 2), shard(TARGETS, 2), 2)
        moved = float(np.abs(model.get_weights()[0] - start[0]).max())
        return {"between_ranks": between_ranks(model), "moved": moved}
    finally:
        keras.mixed_precision.set_global_policy("float32")


def case_saved_model() -> dict[str, Any]:
    """Saved with a wrapped optimizer: plain Keras loads it, load_model goes on with its state."""
    folder = Path(tempfile.mkdtemp())
    path = folder / ("model.h5" if LEGACY else "model.keras")
    x, y = shard(ROWS, 2), shard(TARGETS, 2)
    model, plain = dense_model(), dense_model()
    fit(model, hvd.DistributedOptimizer(sgd()), x, y, 2)
    model.save(path)
    fresh = keras.models.load_model(path)
    loaded = hvd.load_model(str(path))
    same_state = apart(loaded, model)
    loaded.fit(x, y, batch_size=2, shuffle=False, verbose=0)
    fit(plain, sgd(), ROWS, TARGETS, 4, epochs=2)
    return {
        **scores(loaded, plain, model),
        "same_state": same_state,
        "plain_class": type(fresh.optimizer) is keras.optimizers.SGD,
        "iterations": int(loaded.optimizer.iterations),
    }


def case_saved_with_a_loss_by_name() -> dict[str, float]:
    """An .h5 file of a model that was compiled with `loss="mse"`."""
    path = Path(tempfile.mkdtemp()) / "model.h5"
    model = dense_model()
    model.compile(hvd.DistributedOptimizer(sgd()), loss="mse")
    x, y = shard(ROWS, 2), shard(TARGETS, 2)
    model.fit(x, y, batch_size=2, shuffle=False, verbose=0)
    model.save(path)
    loaded = hvd.load_model(str(path))
    expected = float(np.mean((model.predict(x, verbose=0) - y) ** 2))
    return {"expected": expected, "found": float(loaded.evaluate(x, y, verbose=0))}


def case_saved_in_h5() -> dict[str, Any]:
    """Training goes on from an .h5 file, with the momentum that was saved."""
    path = Path(tempfile.mkdtemp()) / "model.h5"
    x, y = shard(ROWS, 2), shard(TARGETS, 2)
    model, plain = dense_model(), dense_model()
    fit(model, hvd.DistributedOptimizer(sgd()), x, y, 2)
    model.save(path)
    loaded = hvd.load_model(str(path))
    loaded.fit(x, y, batch_size=2, shuffle=False, verbose=0)
    fit(plain, sgd(), ROWS, TARGETS, 4, epochs=2)
    return scores(loaded, plain, model)


def case_weight_decay_exclusions() -> dict[str, float]:
    """Those named before the optimizer is wrapped stay excluded."""

    def make() -> Any:
        optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        return optimizer

    return trained(make, hvd.DistributedOptimizer)


def case_wrapped_after_training() -> dict[str, float]:
    """An optimizer that has trained goes on, with its momentum, when it is wrapped."""
    if LEGACY:
        return {}
    model, plain = dense_model(), dense_model()
    fit(model, sgd(), ROWS, TARGETS, 4)
    optimizer = hvd.DistributedOptimizer(model.optimizer)
    optimizer.learning_rate = 0.05
    fit(model, optimizer, shard(ROWS, 2), shard(TARGETS, 2), 2)
    fit(plain, sgd(), ROWS, TARGETS, 4)
    plain.optimizer.learning_rate = 0.05
    plain.fit(ROWS, TARGETS, batch_size=4, shuffle=False, verbose=0)
    return scores(model, plain, dense_model())


def case_minimize() -> dict[str, float]:
    """Keras 2's way to make a step, which a wrapped optimizer still has; `variables()` too."""
    model, plain, x, y = dense_model(), dense_model(), shard(ROWS, 2), shard(TARGETS, 2)
    optimizer = hvd.DistributedOptimizer(sgd())
    for i in range(3):
        rows = slice(2 * i, 2 * i + 2)
        optimizer.minimize(lambda rows=rows: loss_of(model, x, y, rows), model.trainable_variables)
    hvd_tf.broadcast_variables(optimizer.variables(), root_rank=0)
    fit(plain, sgd(), ROWS[:12], TARGETS[:12], 4)
    return scores(model, plain, dense_model())


def loss_of(model: Model, x: np.ndarray, y: np.ndarray, rows: slice) -> Any:
    return tf.reduce_mean((model(x[rows]) - y[rows]) ** 2)


def case_files_of_keras_2() -> dict[str, list[float]]:
    """Models that Keras 2 saved: between ranks, to Keras 2 that goes on, and what was trained.

    An optimizer that Horovod 0.28 wrapped is saved as a class of the same name or, before that,
    of `Distributed` and the name.
    """
    if importlib.util.find_spec("tf_keras") is None:
        return {}
    import tf_keras

    kinds = tf_keras.optimizers
    falling = kinds.schedules.ExponentialDecay(0.1, 4, 0.5)
    rms = kinds.RMSprop(0.01, momentum=0.9, centered=True)
    optimizers = {
        "plain": kinds.Adam(0.01, amsgrad=True),
        "wrapped": _as_saved(kinds.SGD(falling, momentum=0.9), "SGD"),
        "wrapped long ago": _as_saved(kinds.legacy.Adam(0.01, decay=0.1), "DistributedAdam"),
        "three states": _as_saved(rms, "DistributedRMSprop"),
    }
    return {name: _goes_on(tf_keras, optimizer) for name, optimizer in optimizers.items()}


def _as_saved(optimizer: Any, name: str) -> Any:
    cls = type(name, (type(optimizer),), {"__module__": "horovod._keras"})
    return cls.from_config(optimizer.get_config())


def _goes_on(tf_keras: Any, optimizer: Any) -> list[float]:
    path = Path(tempfile.mkdtemp()) / "model.h5"
    layers = [tf_keras.layers.Dense(3, input_shape=[3]), tf_keras.layers.Dense(2)]
    old = tf_keras.Sequential(layers)
    tf_keras.utils.set_random_seed(5)
    old.set_weights([np.random.normal(size=w.shape, scale=0.3) for w in old.get_weights()])
    old.compile(optimizer, "mse", metrics=["mae", tf_keras.metrics.MeanSquaredError()])
    old.fit(ROWS, TARGETS, batch_size=4, shuffle=False, verbose=0)
    old.save(path)
    loaded = hvd.load_model(str(path))
    start = apart(loaded, old)
    loaded.fit(shard(ROWS, 2), shard(TARGETS, 2), batch_size=2, shuffle=False, verbose=0)
    moved = apart(loaded, old)
    old.fit(ROWS, TARGETS, batch_size=4, shuffle=False, verbose=0)
    return [start, between_ranks(loaded), apart(loaded, old), moved]


class Doubled(keras.optimizers.SGD):
    """An optimizer that is not Keras's."""


def case_saved_custom_optimizer() -> dict[str, float]:
    if LEGACY:
        return {}
    path = Path(tempfile.mkdtemp()) / "model.keras"
    model = dense_model()
    fit(model, hvd.DistributedOptimizer(Doubled(0.1)), shard(ROWS, 2), shard(TARGETS, 2), 2)
    model.save(path)
    loaded = hvd.load_model(path, custom_optimizers=[Doubled])
    loaded.fit(shard(ROWS, 2), shard(TARGETS, 2), batch_size=2, shuffle=False, verbose=0)
    return {"between_ranks": between_ranks(loaded), "moved": apart(loaded, model)}


def case_configuration() -> list[bool]:
    """A wrapped optimizer's copies by from_config are wrapped, and equal."""
    optimizer = hvd.DistributedOptimizer(keras.optimizers.Adam(0.01, beta_1=0.8))
    copy = optimizer.from_config(optimizer.get_config())
    return [
        optimizer.get_config() == copy.get_config(),
        hasattr(copy, "register_local_var"),
        isinstance(optimizer, keras.optimizers.Adam),
        type(optimizer).__name__ == "Adam",
    ]


def case_update_behind_the_hooks() -> str:
    """A Keras that updates weights by another way than `apply` is refused."""
    if LEGACY:
        return "without calling the optimizer's apply"
    model = dense_model()
    optimizer = hvd.DistributedOptimizer(keras.optimizers.SGD(0.1))
    optimizer.build(model.trainable_variables)
    try:
        optimizer.update_step(tf.zeros([3, 2]), model.trainable_variables[0], 0.1)
    except RuntimeError as error:
        return str(error)
    return ""


def case_compiled_by_xla() -> str:
    model = dense_model()
    model.compile(hvd.DistributedOptimizer(keras.optimizers.SGD(0.1)), "mse", jit_compile=True)
    try:
        model.fit(ROWS, TARGETS, verbose=0)
    except Exception as error:  # Keras 2 leaves the words to TensorFlow
        return str(error)
    return ""


def case_not_an_optimizer() -> str:
    try:
        hvd.DistributedOptimizer("sgd")
    except TypeError as error:
        return str(error)
    return ""


def case_broadcast_callback() -> dict[str, float]:
    """Ranks start from different weights; all train from the root's."""
    model, plain = dense_model(), dense_model()
    if hvd.rank() != 1:
        model.set_weights([w + 1 for w in model.get_weights()])
    callbacks = [hvd.callbacks.BroadcastGlobalVariablesCallback(1)]
    optimizer = hvd.DistributedOptimizer(sgd())
    fit(model, optimizer, shard(ROWS, 2), shard(TARGETS, 2), 2, callbacks=callbacks)
    fit(plain, sgd(), ROWS, TARGETS, 4)
    return scores(model, plain, dense_model())


def case_broadcast_callback_without_it() -> float:
    """The control: ranks that start apart stay apart."""
    model = dense_model()
    model.set_weights([w + hvd.rank() for w in model.get_weights()])
    fit(model, hvd.DistributedOptimizer(sgd()), shard(ROWS, 2), shard(TARGETS, 2), 2)
    return between_ranks(model)


def case_broadcast_of_all_but_one() -> list[float]:
    """A local variable keeps each rank's value."""
    model = dense_model()
    model.set_weights([np.full_like(w, hvd.rank()) for w in model.get_weights()])
    local = [model.layers[-1].bias]
    broadcast = hvd.callbacks.BroadcastGlobalVariablesCallback(1, local_variables=local)
    rate = keras.optimizers.SGD(0.0)
    fit(model, rate, shard(ROWS, 2), shard(TARGETS, 2), 2, callbacks=[broadcast])
    return [float(w.ravel()[0]) for w in model.get_weights()]


class Record(keras.callbacks.Callback):
    """The learning rate of each batch, and what the logs hold after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []
        self.logs: list[dict[str, float]] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        rate = self.model.optimizer.learning_rate
        self.rates.append(float(rate.numpy() if hasattr(rate, "numpy") else rate))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.logs.append({k: float(v) for k, v in logs.items()})


def with_callback(callback: Any, epochs: int, optimizer: Any = None) -> Record:
    record = Record()
    optimizer = optimizer or hvd.DistributedOptimizer(keras.optimizers.SGD(0.1))
    x, y = shard(ROWS, 3), shard(TARGETS, 3)
    fit(dense_model(), optimizer, x, y, 3, epochs=epochs, callbacks=[callback, record])
    return record


def case_warmup() -> list[float]:
    """Two epochs of four batches, from 0.8 / 2 to 0.8."""
    return with_callback(hvd.callbacks.LearningRateWarmupCallback(0.8, warmup_epochs=2), 3).rates


def case_schedule() -> list[list[float]]:
    staircase = hvd.callbacks.LearningRateScheduleCallback(0.8, 0.5, start_epoch=1)
    smooth = hvd.callbacks.LearningRateScheduleCallback(
        0.8, lambda epoch: 1 + epoch, end_epoch=1, staircase=False
    )
    records = [with_callback(staircase, 3), with_callback(smooth, 2)]
    return [*(r.rates for r in records), [log["lr"] for log in records[0].logs]]


def case_momentum_correction() -> list[float]:
    """Constant gradient 1, momentum 0.5, rates 1 then 2: the weight after each of two steps."""
    found = []
    for corrected in (True, False):
        model = keras.Sequential([keras.layers.Input([1]), keras.layers.Dense(1, use_bias=False)])
        model.set_weights([np.zeros([1, 1], "float32")])
        schedule = hvd.callbacks.LearningRateScheduleCallback(
            1.0, lambda epoch: 1.0 + epoch, momentum_correction=corrected
        )
        optimizer = hvd.DistributedOptimizer(keras.optimizers.SGD(1.0, momentum=0.5))
        model.compile(optimizer, loss=lambda _, y: tf.reduce_sum(y))
        one = np.ones([1, 1], "float32")
        model.fit(one, one, epochs=2, verbose=0, callbacks=[schedule])
        found.append(float(model.get_weights()[0].ravel()[0]))
    return found


class Report(keras.callbacks.Callback):
    """Puts a metric of its own into the logs: 1 on rank 0 and 3 on rank 1."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["own"] = 1.0 + 2.0 * hvd.rank()


def case_metric_average() -> list[float]:
    record = Record()
    x, y = shard(ROWS, 3), shard(TARGETS, 3)
    callbacks = [Report(), hvd.callbacks.MetricAverageCallback(), record]
    optimizer = hvd.DistributedOptimizer(keras.optimizers.SGD(0.0))
    fit(dense_model(), optimizer, x, y, 3, callbacks=callbacks)
    plain = dense_model()
    plain.compile(loss="mse")
    whole = plain.evaluate(ROWS, TARGETS, verbose=0)
    return [record.logs[0]["own"], record.logs[0]["loss"] - float(whole)]


def case_best_model() -> list[bool]:
    folder = Path(tempfile.mkdtemp())
    path = folder / ("best.h5" if LEGACY else "best.keras")
    best = hvd.callbacks.BestModelCheckpoint(monitor="loss")
    try:
        with_callback(best, 1)
        refused = False
    except ValueError:
        refused = True
    best.filepath = str(path)
    with_callback(best, 1)
    return [refused, path.is_file()]


def case_elastic_state() -> list[list[float]]:
    """Weight, batch and epoch after sync, restore and commit."""
    model = dense_model()
    model.set_weights([np.full_like(w, hvd.rank() + 1.0) for w in model.get_weights()])
    optimizer = keras.optimizers.Adam(0.1 * (hvd.rank() + 1))
    state = hvd.elastic.KerasState(model, optimizer, batch=20 + hvd.rank(), epoch=hvd.rank())

    def now() -> list[float]:
        rate = float(np.asarray(optimizer.learning_rate))
        return [float(model.get_weights()[0][0, 0]), rate, state.batch, state.epoch]

    def change() -> None:
        model.set_weights([w * 7.0 for w in model.get_weights()])
        state.batch, state.epoch = 5, 6

    found = []
    state.sync()
    found.append(now())
    change()
    state.restore()
    found.append(now())
    change()
    state.save()
    change()
    state.restore()
    found.append(now())
    return found


def case_elastic_state_of_a_legacy_optimizer() -> dict[str, list[float]]:
    """Rank 0 has made a step, rank 1 has just come: its rate and its momentum must follow."""
    kinds = getattr(keras.optimizers, "legacy", None) if LEGACY else keras.optimizers
    optimizer = kinds.SGD(0.1 * (hvd.rank() + 1), momentum=0.5)
    model = dense_model()
    if hvd.rank() == 0:
        ones = [tf.ones(w.shape) for w in model.get_weights()]
        optimizer.apply_gradients(zip(ones, model.trainable_variables, strict=True))
    state = hvd.elastic.KerasState(model, optimizer)
    before = optimizer_numbers(optimizer)
    state.sync()
    return {"before": before, "after": optimizer_numbers(optimizer)}


def optimizer_numbers(optimizer: Any) -> list[float]:
    """The learning rate, and the first number of the first momentum."""
    found = optimizer.variables
    state = [np.asarray(v) for v in (found() if callable(found) else found)]
    momentum = next(v for v in state if v.shape == (3, 2))
    return [float(np.asarray(optimizer.learning_rate)), float(momentum[0, 0])]


def case_broadcast_callback_and_learning_rate() -> list[float]:
    """Rank 1 starts with twice the rate; the second epoch is made with rank 0's."""
    optimizer = hvd.DistributedOptimizer(keras.optimizers.SGD(0.1 * (hvd.rank() + 1)))
    before = float(np.asarray(optimizer.learning_rate))
    model, x, y = dense_model(), shard(ROWS, 3), shard(TARGETS, 3)
    fit(model, optimizer, x, y, 3, callbacks=[hvd.callbacks.BroadcastGlobalVariablesCallback(0)])
    return [before, float(np.asarray(model.optimizer.learning_rate)), between_ranks(model)]


class Commits:
    """What the elastic callbacks ask of a state."""

    def __init__(self) -> None:
        self.batch, self.epoch, self.commits = 0, 4, 0

    def commit(self) -> None:
        self.commits += 1


def case_elastic_callbacks() -> list[int]:
    """Two epochs of four batches, a commit every three batches and after each epoch."""
    state = Commits()
    kinds = hvd.elastic
    callbacks = [
        kinds.CommitStateCallback(state, batches_per_commit=3),
        kinds.UpdateBatchStateCallback(state),
        kinds.UpdateEpochStateCallback(state),
    ]
    x, y = shard(ROWS, 3), shard(TARGETS, 3)
    optimizer = hvd.DistributedOptimizer(keras.optimizers.SGD(0.1))
    fit(dense_model(), optimizer, x, y, 3, epochs=2, callbacks=callbacks)
    return [state.commits, state.batch, state.epoch]


def case_values() -> list[Any]:
    """The collectives on plain values."""
    rank = hvd.rank()
    return [
        np.asarray(hvd.allreduce([1.0 + rank])).tolist(),
        np.asarray(hvd.allgather([rank])).tolist(),
        np.asarray(hvd.broadcast([rank], root_rank=1)).tolist(),
        np.asarray(hvd.reducescatter([2.0, 4.0])).tolist(),
    ]


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    main(sys.argv[1], globals(), hvd)
