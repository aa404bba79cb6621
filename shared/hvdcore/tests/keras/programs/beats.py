"""Case: under supervision the collective itself reports when a rank waits for the others."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np

from hvdcore.runtime import heartbeat
from hvdcore.runtime.environment import HEARTBEAT
from hvdcore.runtime.heartbeat import HeartbeatPage
from hvdcore.runtime.world import World


def case_beats(world: World, out: Path) -> Any:
    page = HeartbeatPage()
    os.environ[HEARTBEAT] = str(page.path)
    heartbeat._writer = None
    import keras
    import tensorflow as tf

    import hvdcore.keras as hvk

    def beats_of_steps(steps: int, **options: Any) -> list[int]:
        variable = keras.Variable(np.zeros(1, "float32"))
        optimizer = hvk.DistributedOptimizer(keras.optimizers.SGD(1.0, **options))
        optimizer.build([variable])
        run = tf.function(
            lambda: optimizer.apply([tf.constant([1.0])], [variable]), autograph=False
        )
        seen = [page.read().number]
        for _ in range(steps):
            run()
            seen.append(page.read().number)
        return [after - before for before, after in itertools.pairwise(seen)]

    each_step = beats_of_steps(3)
    accumulated = beats_of_steps(4, gradient_accumulation_steps=2)
    del os.environ[HEARTBEAT]
    return {"each": each_step, "accumulated": accumulated, "phase": page.read().phase}
