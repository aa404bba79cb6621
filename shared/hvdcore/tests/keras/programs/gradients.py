"""Cases on single variables, with gradients that are coded by rank and answers known by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import hvdcore.keras as hvk
from hvdcore.errors import UserError
from hvdcore.keras.optimizer import distribution_of
from hvdcore.keras.reduction import GradientReduction
from hvdcore.runtime.world import World


def updated(optimizer: Any, steps: list[list[Any]], shape: tuple[int, ...] = (2,)) -> Any:
    """The values of variables of zeros after `apply` with each step's gradients, in a graph."""
    variables = [keras.Variable(np.zeros(shape, "float32")) for _ in steps[0]]
    optimizer.build(variables)
    for gradients in steps:

        def run(gradients: list[Any] = gradients) -> None:
            optimizer.apply([g() if callable(g) else g for g in gradients], variables)

        tf.function(run, autograph=False).get_concrete_function()()
    return [v.numpy().tolist() for v in variables]


def constant(*values: float) -> Any:
    return lambda: tf.constant(values, tf.float32)


def sparse(indices: list[int], values: list[float]) -> Any:
    """Rows of one column of a table of 5 rows."""
    return lambda: tf.IndexedSlices(
        tf.constant([[v] for v in values], tf.float32), tf.constant(indices), tf.constant([5, 1])
    )


def sgd(**options: Any) -> Any:
    return keras.optimizers.SGD(1.0, **options)


def case_average(world: World, out: Path) -> Any:
    gradients = [constant(1.0 + world.rank, 10.0), None]
    return updated(hvk.DistributedOptimizer(sgd()), [gradients])


def case_sum(world: World, out: Path) -> Any:
    return updated(hvk.DistributedOptimizer(sgd(), op="sum"), [[constant(1.0 + world.rank, 10.0)]])


def case_clip_after_average(world: World, out: Path) -> Any:
    gradient = constant(3.0, 0.0) if world.rank == 0 else constant(0.0, 4.0)
    return updated(hvk.DistributedOptimizer(sgd(global_clipnorm=1.0)), [[gradient]])


def case_accumulation(world: World, out: Path) -> Any:
    steps = [[constant(1.0 + 2 * world.rank, 0.0)], [constant(5.0 + 2 * world.rank, 0.0)]]
    optimizer = hvk.DistributedOptimizer(sgd(gradient_accumulation_steps=2))
    return updated(optimizer, steps)


def case_two_element_types(world: World, out: Path) -> Any:
    """A group of Horovod's may hold one type only; a model may hold several."""
    optimizer = hvk.DistributedOptimizer(sgd())
    half = keras.Variable(np.zeros(1, "float16"), dtype="float16")
    full = keras.Variable(np.zeros(1, "float32"))
    optimizer.build([half, full])
    rank = world.rank
    optimizer.apply(
        [tf.constant([1.0 + rank], tf.float16), tf.constant([3.0 + rank])], [half, full]
    )
    return [float(half.numpy()[0]), float(full.numpy()[0])]


def case_overlapped(world: World, out: Path) -> Any:
    """Four gradients, of which the last two fill a bucket of 12 bytes; and the operations used."""
    reduction = GradientReduction("sum", sparse_as_dense=False)
    rank = float(world.rank)

    def compute(scale: Any) -> Any:
        values, places = tf.stack([[scale], [scale * 2]]), tf.constant([1, 1 + world.rank])
        rows = tf.IndexedSlices(values, places, tf.constant([5, 1]))
        full = [tf.stack([scale * i, rank]) for i in (1.0, 2.0, 3.0)]
        return reduction.overlapped([full[0], None, rows, full[1], full[2]], bucket_bytes=12)

    function = tf.function(compute, autograph=False).get_concrete_function(
        tf.TensorSpec((), tf.float32)
    )
    reduced, (computed, done) = function(tf.constant(1.0 + rank))
    rows = reduced[2]
    places, values = (part.numpy().ravel().tolist() for part in (rows.indices, rows.values))
    return {
        "full": [reduced[i].numpy().tolist() for i in (0, 3, 4)],
        "none": reduced[1] is None,
        "rows": dict(zip(places, values, strict=True)),
        "operations": sum("Allreduce" in op.type for op in function.graph.get_operations()),
        "times_in_order": bool(computed <= done),
    }


def case_narrow_on_the_wire(world: World, out: Path) -> Any:
    """What bfloat16 rounds, 1 + 2^-9, in a gradient, in rows, and in four numbers of their own."""
    reduction = GradientReduction("sum", sparse_as_dense=False, wire_dtype="bfloat16")
    value = 1 + 2**-9
    row = tf.IndexedSlices(tf.fill([1, 20], value), tf.constant([3 * world.rank]), [5, 20])
    full, rows, few = reduction([tf.fill([20], value), row, tf.fill([4], value)])
    return {
        "dtypes": [t.dtype.name for t in (full, rows.values, few)],
        "full": sorted(set(full.numpy().tolist())),
        "rows": sorted(set(rows.values.numpy().ravel().tolist())),
        "few": sorted(set(few.numpy().tolist())),
    }


def case_overlapped_in_apply(world: World, out: Path) -> Any:
    """What `apply` does on one host and on several, with clipping and rows of a table."""
    return [_applied(world, overlap) for overlap in (False, True)]


def _applied(world: World, overlap: bool) -> list[list[float]]:
    optimizer = hvk.DistributedOptimizer(keras.optimizers.Adam(0.1, global_clipnorm=1.0))
    distribution_of(optimizer).reduction.overlap = overlap
    rows = sparse([1, 1], [1.0, 2.0]) if world.rank == 0 else sparse([1, 3], [4.0, 8.0])
    gradients = [*(constant(*[world.rank + i] * 5) for i in (1.0, 2.0, 3.0)), rows]
    shapes = [(5,)] * 3 + [(5, 1)]
    variables = [keras.Variable(np.zeros(shape, "float32")) for shape in shapes]
    optimizer.build(variables)
    step = tf.function(
        lambda: optimizer.apply([make() for make in gradients], variables), autograph=False
    )
    for _ in range(2):
        step()
    return [v.numpy().ravel().tolist() for v in variables]


def case_overlapped_at_the_edges(world: World, out: Path) -> Any:
    """Rows of a table alone, beside which the wish to stop travels; a gradient whose shape is not
    known before the step; and one that exists before the graph."""
    reduction = GradientReduction("sum", sparse_as_dense=False)
    if world.rank == 1:
        reduction.wish_stop()
    rows = sparse([2], [3.0 + world.rank])
    (alone,), _ = tf.function(lambda: reduction.overlapped([rows()]), autograph=False)()
    stopped = reduction.stop_agreed()
    early = tf.constant([1.0 + world.rank])

    def late(x: Any) -> Any:
        return reduction.overlapped([early, x * 2.0], bucket_bytes=4)[0]

    spec = tf.TensorSpec([None], tf.float32)
    found = tf.function(late, autograph=False, input_signature=[spec])(tf.ones([3]))
    return [alone.values.numpy().ravel().tolist(), stopped, [t.numpy().tolist() for t in found]]


def case_overlapped_too_early(world: World, out: Path) -> Any:
    """The control: a bucket that is sent with the first of two parts of its gradient."""
    reduction = GradientReduction("sum", sparse_as_dense=False)

    def compute(first: Any, second: Any) -> Any:
        (early,), _ = reduction.overlapped([first])
        return early + second

    found = tf.function(compute, autograph=False)(tf.constant([1.0]), tf.constant([2.0]))
    return found.numpy().tolist()


def _sparse_step(world: World, optimizer: Any) -> Any:
    rows = sparse([1, 1], [1.0, 2.0]) if world.rank == 0 else sparse([1, 3], [4.0, 8.0])
    dense = constant(*([float(world.rank)] * 5))
    other = keras.Variable(np.zeros((5,), "float32"))
    table = keras.Variable(np.zeros((5, 1), "float32"))
    optimizer.build([other, table])
    for _ in range(2):
        optimizer.apply([dense(), rows()], [other, table])
    return table.numpy().ravel().tolist()


def case_sparse_rows(world: World, out: Path) -> Any:
    return _sparse_step(world, hvk.DistributedOptimizer(sgd()))


def case_sparse_as_dense(world: World, out: Path) -> Any:
    return _sparse_step(world, hvk.DistributedOptimizer(sgd(), sparse_as_dense=True))


def case_adam_sparse(world: World, out: Path) -> Any:
    """Second moments need each row once: Adam on sparse rows against Adam on full tensors."""
    adam = [keras.optimizers.Adam(0.1) for _ in range(2)]
    gathered = _sparse_step(world, hvk.DistributedOptimizer(adam[0]))
    full = _sparse_step(world, hvk.DistributedOptimizer(adam[1], sparse_as_dense=True))
    return [gathered, full]


def case_one_rank_overflows(world: World, out: Path) -> Any:
    """Under loss scaling all ranks skip a step that is infinite on one of them."""
    scaled = keras.optimizers.LossScaleOptimizer(sgd(), initial_scale=8.0)
    optimizer = hvk.DistributedOptimizer(scaled)
    bad = constant(float("inf") if world.rank == 1 else 1.0, 0.0)
    values = updated(optimizer, [[bad], [constant(8.0 * world.rank, 0.0)]])
    return [values, float(scaled.dynamic_scale.numpy())]


def case_one_rank_overflows_inside(world: World, out: Path) -> Any:
    """The same with the distributed optimizer below the loss scaling."""
    inner = hvk.DistributedOptimizer(sgd())
    scaled = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)
    # Not a constant, for TensorFlow would fold the branch.
    bad = tf.Variable([float("inf") if world.rank == 1 else 1.0, 0.0]).read_value
    values = updated(scaled, [[bad], [constant(8.0 * world.rank, 0.0)]])
    return [values, float(scaled.dynamic_scale.numpy())]


def case_settings_conflict(world: World, out: Path) -> Any:
    optimizer = hvk.DistributedOptimizer(sgd())
    assert hvk.DistributedOptimizer(optimizer) is optimizer
    try:
        hvk.DistributedOptimizer(optimizer, op="sum")
    except UserError as error:
        return str(error)
    return None
