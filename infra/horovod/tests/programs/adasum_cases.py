"""Run by every rank: the optimizer that combines steps by Adasum. Usage: adasum_cases.py FOLDER.

Gradient descent with rate 1 from zeros: each rank's step is minus its gradient.
"""

from __future__ import annotations

import sys
from typing import Any

import horovod.tensorflow as hvd
import tensorflow as tf
from case_runner import main

PARALLEL = [[3.0, 4.0], [3.0, 4.0]]
ORTHOGONAL = [[1.0, 0.0], [0.0, 2.0]]
BETWEEN = [[1.0, 0.0], [2.0, 2.0]]


def stepped(gradients: list[list[float]], steps: int = 1, passes: int = 1) -> list[list[float]]:
    """The variable after each step with this rank's gradient."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("weights", initializer=tf.zeros([2]))
        plain = tf.compat.v1.train.GradientDescentOptimizer(1.0)
        optimizer = hvd.DistributedOptimizer(plain, op=hvd.Adasum, backward_passes_per_step=passes)
        update = optimizer.apply_gradients([(tf.constant(gradients[hvd.rank()]), variable)])
        session.run(tf.compat.v1.global_variables_initializer())
        found = []
        for _ in range(steps):
            session.run(update)
            found.append(session.run(variable).tolist())
        return found


def case_parallel() -> list[list[float]]:
    return stepped(PARALLEL)


def case_orthogonal() -> list[list[float]]:
    return stepped(ORTHOGONAL)


def case_between() -> list[list[float]]:
    return stepped(BETWEEN, steps=2)


def case_every_other_step() -> list[list[float]]:
    return stepped(ORTHOGONAL, steps=2, passes=2)


def case_averaged() -> list[list[float]]:
    """The control: by the usual average orthogonal steps are halved."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("weights", initializer=tf.zeros([2]))
        optimizer = hvd.DistributedOptimizer(tf.compat.v1.train.GradientDescentOptimizer(1.0))
        slope = tf.constant(ORTHOGONAL[hvd.rank()])
        update = optimizer.minimize(tf.reduce_sum(variable * slope))
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(update)
        return [session.run(variable).tolist()]


def case_keras() -> str:
    return _refused(lambda: hvd.DistributedOptimizer(tf.keras.optimizers.SGD(0.1), op=hvd.Adasum))


def _refused(call: Any) -> str:
    try:
        call()
    except (ValueError, NotImplementedError) as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main(sys.argv[1], globals(), hvd)
