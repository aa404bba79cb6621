"""Case: under supervision the collective itself tells when a rank waits for the others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from hvdcore import heartbeat
from hvdcore.heartbeat import HEARTBEAT_VARIABLE, HeartbeatPage
from hvdcore.world import World


def case_beats(world: World, out: Path) -> Any:
    page = HeartbeatPage()
    os.environ[HEARTBEAT_VARIABLE] = str(page.path)
    heartbeat._writer = None
    import keras
    import tensorflow as tf

    import hvdcore.keras as hvk

    variable = keras.Variable(np.zeros(1, "float32"))
    optimizer = hvk.DistributedOptimizer(keras.optimizers.SGD(1.0))
    optimizer.build([variable])

    def step() -> None:
        optimizer.apply([tf.constant([1.0])], [variable])

    run = tf.function(step, autograph=False)
    seen = [page.read().number]
    for _ in range(3):
        run()
        seen.append(page.read().number)
    del os.environ[HEARTBEAT_VARIABLE]
    return {"counts": seen, "phase": page.read().phase}
