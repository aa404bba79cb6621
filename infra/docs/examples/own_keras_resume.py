"""Keras `fit` with checkpoints every few steps: killed and resumed in the middle of an epoch."""

import argparse
import os
import signal
import sys
from pathlib import Path

import numpy as np

import hvdcore.keras  # before keras: it sets the backend's libraries up quietly
from hvdcore.errors import user_errors_exit
from hvdcore.keras import (
    BroadcastModel,
    FitCheckpoints,
    Heartbeat,
    ReduceMetrics,
    StopTogether,
    TrainShard,
)
from hvdcore.runtime.signals import StopFlag
from hvdcore.sharding import eval_range

import keras  # isort: skip

# [options]
parser = argparse.ArgumentParser()
parser.add_argument("--output-dir", type=Path, required=True)
parser.add_argument("--resume", default="never")
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--kill-after", type=int, help="for the test: kill -9 after this step")
options = parser.parse_args()
BATCH, SEED, NUM_TRAIN = 16, 0, 96
world = hvdcore.keras.init()
keras.utils.set_random_seed(SEED)
generator = np.random.default_rng(SEED)
inputs = generator.normal(size=(130, 8)).astype("float32")
targets = np.sin(inputs.sum(axis=1, keepdims=True)).astype("float32")


class Print(keras.callbacks.Callback):
    """Rank 0 prints the losses of each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if world.is_root:
            print(f"epoch {epoch}: loss {logs['loss']:.6f} val {logs['val_loss']:.6f}", flush=True)

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == options.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)


# [data]
def fetch(indices, epoch):
    """The samples of these indices, with noise that is new in each epoch."""
    noise = [np.random.default_rng((SEED, epoch, i)).normal(size=8) for i in indices]
    return inputs[indices] + 0.01 * np.array(noise, dtype="float32"), targets[indices]


own = eval_range(len(inputs) - NUM_TRAIN, world.rank, world.size)
val = slice(NUM_TRAIN + own.start, NUM_TRAIN + own.stop)
# [start]
with user_errors_exit(), StopFlag() as stop:
    train = TrainShard(NUM_TRAIN, fetch, global_batch_size=BATCH, seed=SEED, world=world)
    checkpoints = FitCheckpoints(
        options.output_dir, train, every_steps=2, resume=options.resume, config={"hidden": 32}
    )
    # [model]
    layers = [
        keras.Input((8,)),
        keras.layers.Dense(32, "tanh"),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential(layers)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    hvdcore.keras.distribute(model)
    # [fit]
    stopping = StopTogether(stop)
    model.fit(
        train, initial_epoch=checkpoints.initial_epoch, epochs=options.epochs, shuffle=False,
        validation_data=(inputs[val], targets[val]), verbose=0,
        callbacks=[BroadcastModel(), ReduceMetrics(), Heartbeat(), checkpoints, Print(), stopping],
    )  # fmt: skip
    if stopping.by_signal:
        sys.exit(stop.exit_code)
# [end]
if world.is_root:
    model.save(checkpoints.run.model / "model.keras")
    print("weights", hvdcore.keras.weights_sha256(model))
