"""Run by every rank: each case_ function uses horovod.tensorflow and returns what it got, as JSON.

Usage: tensorflow_cases.py FOLDER. Values are coded by rank; the tests hold the answers.
"""

from __future__ import annotations

import os
import sys

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf
from case_runner import main

TYPES = ["uint8", "int8", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


def case_configured_after_init() -> list[bool]:
    """The first case: until something has run, `tf.config` can be set. Later it cannot."""
    cpu = tf.config.list_physical_devices("CPU")
    tf.config.set_visible_devices(cpu, "CPU")
    tf.config.threading.set_inter_op_parallelism_threads(2)
    found = [tf.config.threading.get_inter_op_parallelism_threads() == 2]
    hvd.allreduce(tf.ones(1))
    try:
        tf.config.threading.set_inter_op_parallelism_threads(3)
    except RuntimeError:
        found.append(True)
    return found


def case_allreduce_of_every_type() -> dict[str, list[float]]:
    """[1, 2] * (rank + 1), summed."""
    mine = {t: tf.cast([1, 2], t) * tf.cast(hvd.rank() + 1, t) for t in TYPES}
    summed = {t: hvd.allreduce(x, op=hvd.Sum) for t, x in mine.items()}
    assert all(summed[t].dtype.name == t for t in TYPES)
    return {t: tf.cast(x, tf.float64).numpy().tolist() for t, x in summed.items()}


def case_adasum() -> list[float] | str:
    try:
        mine = tf.constant([[1.0, 0.0], [2.0, 2.0]][hvd.rank()])
        return hvd.allreduce(mine, op=hvd.Adasum).numpy().tolist()
    except NotImplementedError as error:
        return str(error)


def case_allreduce_of_flags() -> list[bool]:
    """Sum of flags is "any"."""
    return hvd.allreduce(tf.constant([hvd.rank() == 0, False]), op=hvd.Sum).numpy().tolist()


def case_reductions() -> dict[str, list[float]]:
    """[1, 2, 4] * (rank + 1) by each operation."""
    x = tf.constant([1.0, 2.0, 4.0]) * (hvd.rank() + 1)
    kinds = {"average": hvd.Average, "min": hvd.Min, "max": hvd.Max, "product": hvd.Product}
    found = {name: hvd.allreduce(x, op=op).numpy().tolist() for name, op in kinds.items()}
    scaled = hvd.allreduce(x, op=hvd.Sum, prescale_factor=0.5, postscale_factor=4.0)
    return {**found, "scaled": scaled.numpy().tolist()}


def case_shapes() -> list[list[int]]:
    """No dimension, no element, and a transposed tensor keep their shapes."""
    given = [tf.constant(1.0), tf.zeros([0, 3]), tf.transpose(tf.ones([2, 3]))]
    return [hvd.allreduce(x).shape.as_list() for x in given]


def movements() -> dict[str, object]:
    rank = hvd.rank()
    rows = tf.fill([rank + 1, 2], float(rank))
    sent, received = hvd.alltoall(tf.range(3) + 10 * rank, splits=[1, 2])
    return {
        "allgather": hvd.allgather(rows),
        "broadcast": hvd.broadcast(tf.constant([rank]), root_rank=1),
        "alltoall": sent,
        "received": received,
        "equal_parts": hvd.alltoall(tf.range(4) + 10 * rank),
        "reducescatter": hvd.reducescatter(tf.range(3.0) * (rank + 1), op=hvd.Sum),
        "grouped_allreduce": hvd.grouped_allreduce([tf.ones([2]), tf.ones([1])], op=hvd.Sum),
        "grouped_allgather": hvd.grouped_allgather([tf.fill([1], rank), tf.fill([rank], 5)]),
        "grouped_reducescatter": hvd.grouped_reducescatter(
            [tf.range(2.0), tf.range(4.0)], op=hvd.Sum
        ),
    }


def case_movements() -> object:
    return plain(movements())


def case_movements_in_a_graph() -> object:
    return plain(tf.function(movements)())


def plain(value: object) -> object:
    return tf.nest.map_structure(lambda t: t.numpy().tolist(), value)


def case_numbers_of_a_graph() -> list[int]:
    """Rank, size and local rank as the graph finds them when it runs."""
    return plain(tf.function(lambda: [hvd.rank_op(), hvd.size_op(), hvd.local_rank_op()])())


def case_opposite_order() -> list[float]:
    """Six independent operations, written in opposite order on the two ranks."""
    names = [f"opposite_{i}" for i in range(6)]
    order = names if hvd.rank() == 0 else names[::-1]

    @tf.function
    def run(x: tf.Tensor) -> list[tf.Tensor]:
        found = {n: hvd.allreduce(x + int(n[-1]), op=hvd.Sum, name=n) for n in order}
        return [found[n] for n in names]

    return plain([run(tf.constant(float(hvd.rank()))) for _ in range(3)][-1])


def case_equal_operations_stay_two() -> list[float]:
    """Rank 0's graph has two operations with one input; rank 1 runs them one by one."""
    x = tf.constant([1.0])

    def named(name: str) -> object:
        return lambda t: hvd.allreduce(t, op=hvd.Sum, name=name, ignore_name_scope=True)

    first, second = named("equal_first"), named("equal_second")
    if hvd.rank() == 0:
        both = tf.function(lambda t: [first(t), second(t)])
        return plain(tf.nest.flatten(both(x)))
    return plain([tf.function(first)(x), tf.function(second)(x)])


def case_constants_are_not_computed_once() -> list[float]:
    """On rank 0 the input is a constant of the graph; each call must communicate all the same."""

    def reduce(t: tf.Tensor) -> tf.Tensor:
        return hvd.allreduce(t, op=hvd.Sum, name="of_a_constant", ignore_name_scope=True)

    if hvd.rank() == 0:
        run = tf.function(lambda: reduce(tf.constant([1.0])) * 2.0)
        return [float(run()[0]) for _ in range(3)]
    other = tf.function(lambda t: reduce(t) * 2.0)
    return [float(other(tf.constant([float(i)]))[0]) for i in range(3)]


def case_loop() -> float:
    """Iterations of a loop that do not depend on each other."""

    @tf.function
    def run(x: tf.Tensor) -> tf.Tensor:
        parts = tf.TensorArray(tf.float32, size=5)
        for i in tf.range(5):
            parts = parts.write(i, hvd.allreduce(x[i], op=hvd.Sum))
        return tf.reduce_sum(parts.stack() * [1.0, 10.0, 100.0, 1000.0, 10000.0])

    return float(run(tf.range(5.0) * (hvd.rank() + 1)))


def case_gradients() -> dict[str, object]:
    """Of a loss that weighs the outputs, with respect to each rank's own input."""
    rank = hvd.rank()
    x = tf.Variable([1.0, 2.0])
    operations = {
        "allreduce": lambda: hvd.allreduce(x, op=hvd.Sum) * [1.0, 10.0],
        "allgather": lambda: hvd.allgather(x) * [1.0, 2.0, 3.0, 4.0],
        "broadcast": lambda: hvd.broadcast(x, root_rank=0) * (rank + 1.0),
        "alltoall": lambda: hvd.alltoall(x) * [1.0 + rank, 10.0 + rank],
        "reducescatter": lambda: hvd.reducescatter(x, op=hvd.Sum) * (rank + 1.0),
        "grouped_allreduce": lambda: hvd.grouped_allreduce([x, x * 2], op=hvd.Sum)[1],
        "grouped_allgather": lambda: hvd.grouped_allgather([x])[0] * [1.0, 2.0, 3.0, 4.0],
    }
    found = {}
    for name, operation in operations.items():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(operation())
        found[name] = tape.gradient(loss, x).numpy().tolist()
    return found


def case_a_second_graph_of_gradients() -> list[float]:
    """The same inside a `tf.function`, called twice."""
    x = tf.Variable([3.0])

    @tf.function
    def run() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(hvd.allreduce(x, op=hvd.Average) ** 2)
        return tape.gradient(loss, x)

    return [float(run()[0]) for _ in range(2)]


def case_ranks_that_disagree() -> list[str]:
    """Different shapes are an error on all ranks, and Horovod works after it."""
    try:
        hvd.allreduce(tf.zeros([2 + hvd.rank()]))
        message = ""
    except tf.errors.OpError as error:
        message = error.message
    return [message, str(float(hvd.allreduce(tf.constant(1.0), op=hvd.Sum)))]


def case_an_operation_on_a_scalar() -> str:
    try:
        tf.function(lambda: hvd.allgather(tf.constant(1.0)))()
    except (ValueError, tf.errors.OpError) as error:
        return str(error)
    return ""


def case_process_set() -> list[float]:
    """Rank 1 alone, then both."""
    alone = hvd.add_process_set([1])
    try:
        mine = [float(hvd.allreduce(tf.constant(7.0), process_set=alone))] if hvd.rank() else []
        return [*mine, float(hvd.allreduce(tf.constant(1.0), op=hvd.Sum))]
    finally:
        hvd.remove_process_set(alone)


def case_join() -> list[float]:
    """Rank 0 makes one step more than rank 1."""
    sums = [
        float(hvd.allreduce(tf.constant(1.0), op=hvd.Sum)) for _ in range(3 if hvd.rank() else 4)
    ]
    last = int(hvd.join())
    return [*sums, last, float(hvd.allreduce(tf.constant(1.0), op=hvd.Sum))]


def case_barrier() -> bool:
    """Eagerly and in a graph."""
    hvd.barrier()

    @tf.function
    def run() -> tf.Tensor:
        hvd.barrier()
        return tf.constant(True)

    return bool(run())


def case_broadcast_variables() -> list[object]:
    values = [tf.Variable([float(hvd.rank())] * 2), tf.Variable(hvd.rank(), dtype=tf.int64)]
    hvd.broadcast_variables(values, root_rank=1)
    return plain([v.value() for v in values])


def case_broadcast_in_place() -> list[object]:
    values = [tf.Variable([float(hvd.rank())] * 2), tf.Variable(hvd.rank(), dtype=tf.int64)]
    found = hvd.broadcast_(values, root_rank=1)
    hvd.broadcast_variables(values, root_rank=1, inplace=True)
    return plain([found, [v.value() for v in values]])


def case_objects() -> list[object]:
    mine = {"rank": hvd.rank(), "many": "x" * hvd.rank()}
    empty = hvd.broadcast_object(None if hvd.rank() else [], root_rank=0)
    return [hvd.broadcast_object(mine, root_rank=1), hvd.allgather_object(mine), empty]


def case_sparse_and_dense_together() -> object:
    """A group of slices between dense tensors: each result keeps its own shape."""
    rank = hvd.rank()
    slices = tf.IndexedSlices(tf.fill([1, 2], rank + 1.0), tf.constant([rank]), dense_shape=[4, 2])
    first, sparse, last = hvd.grouped_allreduce([tf.ones([1]), slices, tf.ones([3])], op=hvd.Sum)
    dense = tf.convert_to_tensor(sparse)
    return plain([first, dense, last])


def case_tape() -> dict[str, object]:
    """x**2 at rank + 1: gradient 2 (rank + 1)."""
    rank = hvd.rank()
    x, y = tf.Variable(rank + 1.0), tf.Variable(rank + 1.0)

    def gradients(**options: object) -> object:
        with tf.GradientTape() as tape:
            loss = x**2 + y**2
        tape = hvd.DistributedGradientTape(tape, **options)
        return plain(tape.gradient(loss, [x, y]))

    with tf.GradientTape() as tape:
        loss = x**2 + y**2
    partial = hvd.DistributedGradientTape(tape)
    partial.register_local_source(y)
    return {
        "average": gradients(),
        "sum": gradients(op=hvd.Sum),
        "groups": gradients(groups=1),
        "groups_of_variables": gradients(groups=[[y]]),
        "half": gradients(compression=hvd.Compression.fp16),
        "partial": plain(partial.gradient(loss, [x, y])),
        "one_source": one_source(x),
    }


def one_source(x: tf.Variable) -> object:
    with tf.GradientTape() as tape:
        loss = x * 3.0 * (hvd.rank() + 1)
    return float(hvd.DistributedGradientTape(tape).gradient(loss, x))


def case_batch_normalization() -> list[float]:
    """Ranks with unequally many rows, against one process with all of them: largest difference."""
    everything = np.random.default_rng(0).normal(size=[5, 3]).astype("float32")
    mine = everything[:2] if hvd.rank() == 0 else everything[2:]
    whole, ours = tf.keras.layers.BatchNormalization(), hvd.SyncBatchNormalization()
    expected = whole(everything, training=True).numpy()
    expected = expected[:2] if hvd.rank() == 0 else expected[2:]
    found = ours(mine, training=True).numpy()
    alone = tf.keras.layers.BatchNormalization()(mine, training=True).numpy()
    pairs = [(found, expected), (ours.moving_mean, whole.moving_mean), (alone, expected)]
    return [float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs]


def case_session() -> list[float]:
    """TensorFlow 1's way: a graph, a session and its optimizer."""
    if os.environ.get("HOROVOD_TENSORFLOW_OPERATIONS") == "python":
        return []
    with tf.Graph().as_default():
        x = tf.compat.v1.get_variable("x", initializer=float(hvd.rank()))
        send = hvd.broadcast_global_variables(1)
        optimizer = hvd.DistributedOptimizer(tf.compat.v1.train.GradientDescentOptimizer(0.5))
        train = optimizer.minimize(x * (hvd.rank() + 1.0))
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            session.run(send)
            sent = session.run(x)
            session.run(train)
            return [float(sent), float(session.run(x))]


def case_monitored_session() -> list[float]:
    """The hook's broadcast, and three steps on different data, as old examples train."""
    if os.environ.get("HOROVOD_TENSORFLOW_OPERATIONS") == "python":
        return []
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        x = v1.get_variable("x", initializer=hvd.rank() + 2.0)
        step = v1.train.get_or_create_global_step()
        optimizer = hvd.DistributedOptimizer(v1.train.GradientDescentOptimizer(0.5))
        train = optimizer.minimize(x * (hvd.rank() + 1.0), global_step=step)
        hooks = [hvd.BroadcastGlobalVariablesHook(0), v1.train.StopAtStepHook(last_step=3)]
        values = []
        with v1.train.MonitoredTrainingSession(hooks=hooks) as session:
            while not session.should_stop():
                values.append(float(session.run(x)))
                session.run(train)
        return values


if __name__ == "__main__":
    main(sys.argv[1], globals(), hvd)
