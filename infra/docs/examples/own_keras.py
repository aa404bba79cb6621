"""`compile` and `fit` of Keras 3 on any number of ranks."""

import numpy as np

import hvdcore.keras  # before keras: it sets the backend's libraries up quietly
from hvdcore.keras import BroadcastModel, Heartbeat, ReduceMetrics, StopTogether
from hvdcore.sharding import epoch_order, train_indices

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


class Shard(keras.utils.PyDataset):
    """This rank's samples of each global batch, in a new order in each epoch."""

    epoch = 0

    def __len__(self):
        return len(inputs) // BATCH

    def __getitem__(self, step):
        order = epoch_order(len(inputs), SEED, self.epoch)
        mine = train_indices(order, step, BATCH, world.rank, world.size)
        return inputs[mine], targets[mine]

    def on_epoch_end(self):
        self.epoch += 1


callbacks = [BroadcastModel(), ReduceMetrics(), Heartbeat(), StopTogether()]
history = model.fit(Shard(), epochs=EPOCHS, shuffle=False, verbose=0, callbacks=callbacks)
hvdcore.keras.check_same_weights(model)
if world.is_root:
    print(f"loss {history.history['loss'][-1]:.6f}")
    print("weights", hvdcore.keras.weights_sha256(model))
