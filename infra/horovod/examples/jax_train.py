"""JAX on several ranks, on CPU: gradients are reduced inside of `jit`.

Start: horovodrun -np 2 python jax_train.py
"""

import hashlib

import horovod.jax as hvd
import jax
import jax.numpy as jnp

Params = dict[str, jax.Array]


def made_data() -> tuple[jax.Array, jax.Array]:
    """512 points of the plane; the class of each says on which side of a circle it is."""
    points = jax.random.normal(jax.random.key(0), (512, 2))
    return points, (jnp.linalg.norm(points, axis=1) > 1.2).astype(int)


def loss_of(params: Params, points: jax.Array, classes: jax.Array) -> jax.Array:
    scores = jnp.tanh(points @ params["in"] + params["bias"]) @ params["out"]
    return -jnp.mean(jax.nn.log_softmax(scores)[jnp.arange(len(classes)), classes])


@jax.jit
def step(params: Params, points: jax.Array, classes: jax.Array) -> tuple[Params, jax.Array]:
    loss, gradients = jax.value_and_grad(loss_of)(params, points, classes)
    gradients = hvd.allreduce_tree(gradients)
    params = jax.tree.map(lambda p, g: p - 1.0 * g, params, gradients)
    return params, hvd.allreduce(loss)


def digest(params: Params) -> str:
    """The same text on two ranks only if their weights are the same to the bit."""
    return hashlib.sha256(b"".join(params[name].tobytes() for name in sorted(params))).hexdigest()


def main() -> None:
    hvd.init()
    points, classes = (array[hvd.rank() :: hvd.size()] for array in made_data())
    first_key, second_key = jax.random.split(jax.random.key(hvd.rank()))  # others on each rank
    params = {
        "in": jax.random.normal(first_key, (2, 32)),
        "bias": jnp.zeros(32),
        "out": 0.1 * jax.random.normal(second_key, (32, 2)),
    }
    params = hvd.broadcast_tree(params, root_rank=0)

    losses = []
    for _ in range(400):
        params, loss = step(params, points, classes)
        losses.append(float(loss))
    first, last = losses[0], losses[-1]
    print(f"rank {hvd.rank()} of {hvd.size()}: loss {first:.4f} -> {last:.4f}, {digest(params)}")


if __name__ == "__main__":
    main()
