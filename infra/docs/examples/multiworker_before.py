"""A loop for Keras 3 under MultiWorkerMirroredStrategy, whose `fit` does not work with it."""

import json
import os

import keras
import numpy as np
import tensorflow as tf

EPOCHS, BATCH, SEED = 3, 16, 0
# TF_CONFIG names every worker and this one's place, set by hand on each of them.
os.environ.setdefault(
    "TF_CONFIG",
    json.dumps(
        {"cluster": {"worker": ["localhost:12321"]}, "task": {"type": "worker", "index": 0}}
    ),
)
strategy = tf.distribute.MultiWorkerMirroredStrategy()
generator = np.random.default_rng(SEED)
inputs = generator.normal(size=(96, 8)).astype("float32")
targets = np.sin(inputs.sum(axis=1, keepdims=True)).astype("float32")

with strategy.scope():
    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(32, "tanh"), keras.layers.Dense(1)]
    )
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(model.trainable_variables)

data = tf.data.Dataset.from_tensor_slices((inputs, targets)).shuffle(96, seed=SEED).batch(BATCH)
data = strategy.experimental_distribute_dataset(data)


@tf.function
def train_step(batch_inputs, batch_targets):
    def replica_step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((model(x, training=True) - y) ** 2) / BATCH
        gradients = tape.gradient(loss, model.trainable_variables)
        context = tf.distribute.get_replica_context()
        optimizer.apply(context.all_reduce(tf.distribute.ReduceOp.SUM, gradients))
        return loss

    losses = strategy.run(replica_step, args=(batch_inputs, batch_targets))
    return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)


for _ in range(EPOCHS):
    losses = [float(train_step(x, y)) for x, y in data]
print(f"loss {sum(losses) / len(losses):.6f}")
