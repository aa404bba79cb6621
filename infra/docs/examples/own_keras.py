"""`compile` and `fit` of Keras 3 on any number of ranks."""

import numpy as np

import hvdcore.keras  # before keras: it sets the backend's libraries up quietly
from hvdcore.keras import BroadcastModel, Heartbeat, ReduceMetrics, StopTogether, TrainShard

import keras  # isort: skip

EPOCHS, BATCH, SEED = 3, 16, 0
world = hvdcore.keras.init()
keras.utils.set_random_seed(SEED)
generator = np.random.default_rng(SEED)
inputs = generator.normal(size=(96, 8)).astype("float32")
targets = np.sin(inputs.sum(axis=1, keepdims=True)).astype("float32")

model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(32, "tanh"), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse", metrics=["mae"])
hvdcore.keras.distribute(model)


def fetch(indices, epoch):
    """The samples of these indices: this rank's of a global batch."""
    return inputs[indices], targets[indices]


train = TrainShard(len(inputs), fetch, global_batch_size=BATCH, seed=SEED, world=world)
callbacks = [BroadcastModel(), ReduceMetrics(), Heartbeat(), StopTogether()]
history = model.fit(train, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=callbacks)
hvdcore.keras.check_same_weights(model)
if world.is_root:
    print(f"loss {history.history['loss'][-1]:.6f}")
    print("weights", hvdcore.keras.weights_sha256(model))
