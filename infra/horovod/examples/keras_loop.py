"""Keras 3 on several ranks in a training loop of one's own.

Start: horovodrun -np 2 python keras_loop.py
"""

import hashlib
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import horovod.tensorflow as hvd
import horovod.tensorflow.keras as hvd_keras
import keras
import tensorflow as tf


def made_data() -> tuple[tf.Tensor, tf.Tensor]:
    """512 points of the plane; the class of each says on which side of a circle it is."""
    points = tf.random.stateless_normal([512, 2], seed=[0, 0])
    return points, tf.cast(tf.norm(points, axis=1) > 1.2, tf.int32)


def digest(model: keras.Model) -> str:
    """The same text on two ranks only if their weights are the same to the bit."""
    return hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()


def main() -> None:
    hvd.init()
    keras.utils.set_random_seed(hvd.rank())  # other weights on each rank, until the broadcast
    dataset = tf.data.Dataset.from_tensor_slices(made_data())
    dataset = dataset.shard(hvd.size(), hvd.rank()).shuffle(512).batch(16)

    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(32, "tanh"), keras.layers.Dense(2)]
    )
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = hvd_keras.DistributedOptimizer(keras.optimizers.SGD(0.1 * hvd.size(), momentum=0.9))
    optimizer.build(model.trainable_variables)
    hvd.broadcast_variables(model.variables, root_rank=0)
    hvd.broadcast_variables(optimizer.variables, root_rank=0)

    @tf.function
    def step(points: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(classes, model(points, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)  # reduces them first
        return loss

    losses = []
    for _ in range(8):
        mean = tf.reduce_mean([step(points, classes) for points, classes in dataset])
        losses.append(float(hvd.allreduce(mean)))
    first, last = losses[0], losses[-1]
    print(f"rank {hvd.rank()} of {hvd.size()}: loss {first:.4f} -> {last:.4f}, {digest(model)}")


if __name__ == "__main__":
    main()
