"""TensorFlow without Keras: variables of one's own, a tape that reduces, in a `tf.function`.

Start: horovodrun -np 2 python tensorflow_function.py
"""

import hashlib

import horovod.tensorflow as hvd
import tensorflow as tf


def made_data() -> tuple[tf.Tensor, tf.Tensor]:
    """256 samples of y = x A + 3, with A = [[1], [2], [3], [4]]."""
    x = tf.random.stateless_normal([256, 4], seed=[0, 0])
    return x, x @ tf.constant([[1.0], [2.0], [3.0], [4.0]]) + 3.0


def digest(variables: list[tf.Variable]) -> str:
    """The same text on two ranks only if their weights are the same to the bit."""
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in variables)).hexdigest()


def main() -> None:
    hvd.init()
    dataset = tf.data.Dataset.from_tensor_slices(made_data())
    dataset = dataset.shard(hvd.size(), hvd.rank()).batch(32).repeat(20)
    weights = tf.Variable(tf.random.stateless_normal([4, 1], seed=[1, hvd.rank()]))
    bias = tf.Variable(tf.zeros([1]))
    variables = [weights, bias]
    hvd.broadcast_variables(variables, root_rank=0)

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        tape = tf.GradientTape()
        tape = hvd.DistributedGradientTape(tape)
        with tape:
            loss = tf.reduce_mean((x @ weights + bias - y) ** 2)
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.1 * gradient)
        return hvd.allreduce(loss)

    losses = [float(step(x, y)) for x, y in dataset]
    first, last = losses[0], losses[-1]
    print(f"rank {hvd.rank()} of {hvd.size()}: loss {first:.4f} -> {last:.4f}, {digest(variables)}")


if __name__ == "__main__":
    main()
