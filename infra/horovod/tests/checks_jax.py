"""Checks of horovod.jax on real ranks, against values known for any size."""

from __future__ import annotations

import functools

import horovod.jax as hvd
import jax
import jax.numpy as jnp
import numpy as np
from rank_checks import error_of, must_fail


def start() -> int:
    """Starts Horovod; the rank."""
    hvd.init()
    return hvd.rank()


def mine(dtype="float32", shape=(2, 3)) -> jax.Array:
    """Rank-coded values: 1 on rank 0, 2 on rank 1, ..."""
    return jnp.full(shape, hvd.rank() + 1, dtype)


def total() -> int:
    return hvd.size() * (hvd.size() + 1) // 2


def same(array: jax.Array, expected) -> None:
    expected = jnp.asarray(expected)
    assert isinstance(array, jax.Array)
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(array, expected), (array, expected)


def both(function, *arguments):
    """The results of a function outside of jit and inside."""
    return function(*arguments), jax.jit(function)(*arguments)


def check_sums() -> None:
    for dtype in ("int8", "int32", "uint8", "float16", "bfloat16", "float32"):
        for result in both(lambda x: hvd.allreduce(x, op=hvd.Sum), mine(dtype)):
            same(result, jnp.full((2, 3), total(), dtype))


@must_fail(AssertionError)
def check_control_a_wrong_sum_is_seen() -> None:
    same(jax.jit(lambda x: hvd.allreduce(x, op=hvd.Sum))(mine()), jnp.full((2, 3), total() + 1.0))


def check_other_reductions() -> None:
    n = hvd.size()
    for result in both(hvd.allreduce, mine()):
        same(result, jnp.full((2, 3), (n + 1) / 2))
    for result in both(lambda x: hvd.allreduce(x, op=hvd.Max), mine()):
        same(result, jnp.full((2, 3), float(n)))
    for result in both(lambda x: hvd.allreduce(x, op=hvd.Sum), jnp.array([hvd.rank() == 0, False])):
        same(result, jnp.array([True, False]))
    scaled = functools.partial(hvd.allreduce, op=hvd.Sum, prescale_factor=0.5, postscale_factor=4.0)
    for result in both(scaled, mine()):
        same(result, jnp.full((2, 3), total() * 2.0))


def check_gather_broadcast_and_scatter() -> None:
    n, r = hvd.size(), hvd.rank()
    x = jnp.arange(2.0 * n) + 100 * r
    whole = jnp.concatenate([jnp.arange(2.0 * n) + 100 * rank for rank in range(n)])
    for result in both(hvd.allgather, x):
        same(result, whole)
    for result in both(lambda y: hvd.broadcast(y, 0), x):
        same(result, jnp.arange(2.0 * n))
    for result in both(hvd.alltoall, x):
        same(result, whole.reshape(n, n, 2)[:, r].reshape(-1))
    for result in both(lambda y: hvd.reducescatter(y, op=hvd.Sum), x):
        same(result, whole.reshape(n, -1).sum(0)[2 * r : 2 * r + 2])


def check_zero_size_and_zero_dimensions() -> None:
    for result in both(lambda x: hvd.allreduce(x, op=hvd.Sum), jnp.zeros((0, 3))):
        same(result, jnp.zeros((0, 3)))
    for result in both(lambda x: hvd.allreduce(x, op=hvd.Sum), jnp.float32(hvd.rank() + 1)):
        same(result, jnp.float32(total()))


def check_gradients() -> None:
    n, r = hvd.size(), hvd.rank()
    for transform in (lambda f: f, jax.jit):
        grad = transform(jax.grad(lambda x: hvd.allreduce(x, op=hvd.Sum).sum()))
        same(grad(mine()), jnp.full((2, 3), float(n)))
        grad = transform(jax.grad(lambda x: (hvd.allreduce(x) * (r + 1)).sum()))
        same(grad(mine()), jnp.full((2, 3), (n + 1) / 2))
        grad = transform(jax.grad(lambda x: (hvd.allgather(x) * (r + 1)).sum()))
        same(grad(mine()), jnp.full((2, 3), (n + 1) / 2))
        grad = transform(jax.grad(lambda x: hvd.broadcast(x, 0).sum()))
        same(grad(mine()), jnp.full((2, 3), 1.0 if r == 0 else 0.0))


@must_fail(NotImplementedError)
def check_control_a_maximum_has_no_gradient() -> None:
    jax.grad(lambda x: hvd.allreduce(x, op=hvd.Max).sum())(mine())


def check_loops_and_branches() -> None:
    @jax.jit
    def loop(x):
        return jax.lax.fori_loop(0, 5, lambda i, y: hvd.allreduce(y) + i, x)

    same(loop(mine()), jnp.full((2, 3), (hvd.size() + 1) / 2 + 10))

    @jax.jit
    def scan(x):
        return jax.lax.scan(lambda c, y: (c + hvd.allreduce(y, op=hvd.Sum), c), x, mine(shape=(4,)))

    same(scan(jnp.float32(0))[0], jnp.float32(4 * total()))


def check_vmap() -> None:
    mapped = jax.vmap(lambda x: hvd.allreduce(x, op=hvd.Sum))
    same(mapped(mine()), jnp.full((2, 3), float(total())))


def check_order_is_that_of_the_program() -> None:
    """Many operations of one shape, none of which needs another, in functions not waited for."""

    @jax.jit
    def many(x):
        return [hvd.allreduce(x + i, op=hvd.Sum) for i in range(10)]

    one = jax.jit(lambda x: hvd.allreduce(x * 1000, op=hvd.Sum))
    results = [(many(mine() + step), one(mine())) for step in range(20)]
    for step, (several, alone) in enumerate(results):
        for i, result in enumerate(several):
            same(result, jnp.full((2, 3), float(total() + hvd.size() * (i + step))))
        same(alone, jnp.full((2, 3), 1000.0 * total()))


def check_training_equals_one_process() -> None:
    x = jax.random.normal(jax.random.key(0), (4 * hvd.size(), 3))
    y = jnp.sin(x.sum(1))
    params = {"w": jnp.zeros(3), "b": jnp.zeros(())}

    def loss(params, x, y):
        return ((x @ params["w"] + params["b"] - y) ** 2).mean()

    def step(params, x, y, reduce):
        grads = reduce(jax.grad(loss)(params, x, y))
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

    rows = slice(4 * hvd.rank(), 4 * hvd.rank() + 4)
    distributed = jax.jit(functools.partial(step, reduce=hvd.allreduce_tree))
    alone, ours = params, hvd.broadcast_tree(params, 0)
    for _ in range(5):
        alone = step(alone, x, y, lambda grads: grads)
        ours = distributed(ours, x[rows], y[rows])
    assert np.allclose(ours["w"], alone["w"], atol=1e-6)
    gathered = hvd.allgather(ours["w"][None])
    assert (gathered == gathered[:1]).all()


def check_unequal_rows() -> None:
    rows = jnp.full((hvd.rank() + 1, 2), float(hvd.rank()))
    assert hvd.allgather(rows).shape == (hvd.size() * (hvd.size() + 1) // 2, 2)
    under_jit = jax.jit(hvd.allgather)
    text = error_of(Exception, lambda: jax.block_until_ready(under_jit(rows)))
    assert "same shape" in text, text


def check_disagreement_is_an_error() -> None:
    wrong = jax.jit(functools.partial(hvd.allreduce, name="wrong"))
    x = jnp.ones(2 + (hvd.rank() == 0))
    text = error_of(Exception, lambda: jax.block_until_ready(wrong(x)))
    assert "ismatch" in text, text
    same(hvd.allreduce(mine(), op=hvd.Sum), jnp.full((2, 3), float(total())))


def check_bad_input() -> None:
    text = error_of(ValueError, lambda: hvd.allreduce(jnp.ones(1, "complex64")))
    assert "complex64" in text
    error_of(ValueError, lambda: jax.jit(hvd.allgather)(jnp.float32(1)))


def check_shut_down_and_start_again() -> None:
    summed = jax.jit(lambda x: hvd.allreduce(x, op=hvd.Sum))
    for _ in range(2):
        hvd.shutdown()
        hvd.init()
        same(summed(mine()), jnp.full((2, 3), float(total())))
