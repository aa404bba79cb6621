"""Keras `fit` with validation and checkpoints: stopped and resumed, on any number of ranks."""

import argparse
import sys
from pathlib import Path

import numpy as np

import hvdcore.keras  # before keras: it sets the backend's libraries up quietly
from hvdcore.errors import user_errors_exit
from hvdcore.keras import BroadcastModel, Heartbeat, ReduceMetrics, StopTogether
from hvdcore.run.checkpoint import save
from hvdcore.run.start import start_run
from hvdcore.runtime.signals import StopFlag
from hvdcore.sharding import epoch_order, eval_range, train_indices

import keras  # isort: skip

# [options]
parser = argparse.ArgumentParser()
parser.add_argument("--output-dir", type=Path, required=True)
parser.add_argument("--resume", default="never")
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--stop-after", type=int, help="for the test: ask to stop after this epoch")
options = parser.parse_args()
BATCH, SEED = 16, 0
world = hvdcore.keras.init()
keras.utils.set_random_seed(SEED)
generator = np.random.default_rng(SEED)
inputs = generator.normal(size=(130, 8)).astype("float32")
targets = np.sin(inputs.sum(axis=1, keepdims=True)).astype("float32")
NUM_TRAIN = 96


# [data]
class Shard(keras.utils.PyDataset):
    """This rank's samples of each global batch, in the order of the epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def __len__(self):
        return NUM_TRAIN // BATCH

    def __getitem__(self, step):
        order = epoch_order(NUM_TRAIN, SEED, self.epoch)
        mine = train_indices(order, step, BATCH, world.rank, world.size)
        return inputs[mine], targets[mine]

    def on_epoch_end(self):
        self.epoch += 1


own = eval_range(len(inputs) - NUM_TRAIN, world.rank, world.size)
val = slice(NUM_TRAIN + own.start, NUM_TRAIN + own.stop)


# [checkpoint]
class Save(keras.callbacks.Callback):
    """Rank 0 saves model and optimizer after each epoch; the others wait for it."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def on_epoch_end(self, epoch, logs=None):
        if world.is_root:
            print(f"epoch {epoch}: loss {logs['loss']:.6f} val {logs['val_loss']:.6f}")
            save(self.run.checkpoints, epoch + 1, self.write, meta=config)
        hvdcore.keras.barrier()
        if epoch + 1 == options.stop_after:
            self.model.stop_training = True

    def write(self, folder):
        self.model.save(folder / "model.keras")


# [start]
config = {"global_batch_size": BATCH, "seed": SEED}
with user_errors_exit(), StopFlag() as stop:
    run, checkpoint = start_run(
        options.output_dir, "hvdcore", config, options.resume,
        fingerprint=config, world=world, broadcast=hvdcore.keras.broadcast_object,
    )  # fmt: skip
    if checkpoint is None:
        first_epoch = 0
        layers = [keras.Input((8,)), keras.layers.Dense(32, "tanh"), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    else:
        first_epoch = checkpoint.step
        model = keras.models.load_model(checkpoint.file("model.keras"))
    hvdcore.keras.distribute(model)
    # [fit]
    stopping = StopTogether(stop)
    model.fit(
        Shard(first_epoch), initial_epoch=first_epoch, epochs=options.epochs, shuffle=False,
        validation_data=(inputs[val], targets[val]), verbose=0,
        callbacks=[BroadcastModel(), ReduceMetrics(), Heartbeat(), Save(run), stopping],
    )  # fmt: skip
    if stopping.by_signal:
        sys.exit(stop.exit_code)
if world.is_root:
    print("weights", hvdcore.keras.weights_sha256(model))
