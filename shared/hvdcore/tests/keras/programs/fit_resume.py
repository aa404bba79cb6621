"""`fit` with checkpoints, killed in the middle of an epoch, and what its resumption trains.

Usage: fit_resume.py killed FOLDER, then fit_resume.py compare FOLDER [FOLDER_OF_MORE_RANKS]
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

import hvdcore.keras as hvk
from hvdcore.errors import UserError
from hvdcore.run.checkpoint import latest_valid
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices, Position
from hvdcore.testing.ranks import save_result

SAMPLES, BATCH, SEED, EPOCHS = 52, 8, 7, 3  # 7 steps an epoch, the last one filled up
EVERY, STOPPED_AT = 3, 11
KILLED_AT = 13  # the checkpoint of step 12 may be half-written, that of step 9 is whole
_random = np.random.default_rng(SEED)
X = _random.normal(size=(SAMPLES, 5)).astype("float32")
Y = np.sin(X.sum(axis=1, keepdims=True)).astype("float32")


def fetch(indices: Indices, epoch: int) -> Any:
    """Samples with noise that is new in each epoch."""
    noise = [np.random.default_rng((SEED, epoch, i)).normal(size=5) for i in indices.tolist()]
    return X[indices] + 0.1 * np.array(noise, dtype="float32"), Y[indices]


class After(keras.callbacks.Callback):
    def __init__(self, step: int, action: Any) -> None:
        super().__init__()
        self.step, self.action = step, action

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if int(self.model.optimizer.iterations) == self.step:
            self.action(self.model)


def kill(model: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop(model: Any) -> None:
    model.stop_training = True


def built(kind: str, world: World) -> Any:
    """`random` has layers that draw or keep statistics of a rank; `plain` and `upstream` none."""
    keras.utils.set_random_seed(SEED + world.rank)
    layers: list[Any] = [keras.Input((5,)), keras.layers.Dense(8, "tanh")]
    if kind == "random":
        layers += [keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    rate = keras.optimizers.schedules.CosineDecay(0.05, 30)
    optimizer = keras.optimizers.Adam(rate, use_ema=kind == "random")
    if kind == "upstream":
        import horovod.keras

        optimizer = horovod.keras.DistributedOptimizer(optimizer)
    model.compile(optimizer=optimizer, loss="mse", metrics=["mae"])
    return model if kind == "upstream" else hvk.distribute(model)


def callbacks_of(kind: str) -> list[Any]:
    if kind != "upstream":
        return [hvk.BroadcastModel(), hvk.ReduceMetrics()]
    import horovod.keras.callbacks as upstream

    return [upstream.BroadcastGlobalVariablesCallback(0), upstream.MetricAverageCallback()]


def train(
    world: World, folder: Path, kind: str, *more: Any, resume: str = "never", forget: bool = False
) -> dict[str, Any]:
    """A training, or the rest of one. `forget`: from the beginning of the epoch, the control."""
    data = hvk.TrainShard(SAMPLES, fetch, global_batch_size=BATCH, seed=SEED, world=world)
    saving = hvk.FitCheckpoints(folder, data, every_steps=EVERY, resume=resume)
    began = saving.position
    if forget:
        saving.position = Position(began.epoch)
        data.start_at(saving.position)
    model = built(kind, world)
    last = [] if kind == "upstream" else [hvk.StopTogether()]
    history = model.fit(
        data, initial_epoch=saving.initial_epoch, epochs=EPOCHS, shuffle=False, verbose=0,
        validation_data=(X[:4], Y[:4]), callbacks=[*callbacks_of(kind), *more, saving, *last],
    ).history  # fmt: skip
    checkpoint = latest_valid(folder / "checkpoints")
    assert checkpoint is not None
    return {
        "began": [began.epoch, began.step],
        "weights": hvk.check_same_weights(model),
        "values": np.concatenate([w.numpy().ravel() for w in model.weights]).tolist(),
        "history": history,
        "saved": [checkpoint.step, checkpoint.meta["position"]["samples_seen"]],
    }


def killed(world: World, folder: Path) -> None:
    train(world, folder / "stopped", "plain", After(STOPPED_AT, stop))
    train(world, folder / "killed", "random", After(KILLED_AT, kill))


def compare(world: World, folder: Path, more_ranks: Path | None) -> dict[str, Any]:
    results = {
        "whole": train(world, folder / "whole", "random"),
        "plain": train(world, folder / "whole-plain", "plain"),
        "upstream": train(world, folder / "whole-upstream", "upstream"),
    }
    if world.is_root:
        shutil.copytree(folder / "killed", folder / "again")
    hvk.barrier()
    results["resumed"] = train(world, folder / "killed", "random", resume="auto")
    results["forgot"] = train(world, folder / "again", "random", resume="auto", forget=True)
    results["resumed-plain"] = train(world, folder / "stopped", "plain", resume="auto")
    train(world, folder / "upstream", "upstream", After(STOPPED_AT, stop))
    results["resumed-upstream"] = train(world, folder / "upstream", "upstream", resume="auto")
    if more_ranks is not None:
        results["other"] = train(world, more_ranks, "plain", resume="auto")
    if world.size == 1:  # what rank 0 refuses ends the others
        results["refused"] = refusals(world, folder)
    return results


def refusals(world: World, folder: Path) -> dict[str, str]:
    """What is said where a training would not be the resumed one."""
    data = hvk.TrainShard(SAMPLES, fetch, global_batch_size=BATCH, seed=SEED, world=world)
    other = hvk.TrainShard(SAMPLES - 8, fetch, global_batch_size=BATCH, seed=SEED, world=world)

    def fit(name: str, kind: str, resume: str, **options: Any) -> None:
        saving = hvk.FitCheckpoints(folder / name, data, resume=resume)
        arguments = {"initial_epoch": saving.initial_epoch, "shuffle": False, **options}
        built(kind, world).fit(
            data, epochs=9, verbose=0, callbacks=[hvk.BroadcastModel(), saving], **arguments
        )

    def message(action: Any) -> str:
        try:
            action()
        except UserError as error:
            return str(error)
        return "no error"

    return {
        "data": message(lambda: hvk.FitCheckpoints(folder / "whole", other, resume="auto")),
        "model": message(lambda: fit("whole", "plain", "auto")),
        "epoch": message(lambda: fit("whole", "random", "auto", initial_epoch=0)),
        "steps": message(lambda: fit("steps", "plain", "never", steps_per_epoch=2)),
        "passes": message(lambda: several_passes(folder / "passes", data)),
        "shuffle": message(lambda: fit("shuffle", "plain", "never", shuffle=True)),
    }


def several_passes(folder: Path, data: hvk.TrainShard) -> None:
    """Horovod's accumulation, with checkpoints between two updates."""
    import horovod.keras

    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    optimizer = horovod.keras.DistributedOptimizer(
        keras.optimizers.SGD(), backward_passes_per_step=2
    )
    model.compile(optimizer=optimizer, loss="mse")
    model.fit(
        data, shuffle=False, verbose=0, callbacks=[hvk.FitCheckpoints(folder, data, every_steps=3)]
    )


def main(mode: str, folder: Path, more_ranks: Path | None = None) -> None:
    world = hvk.init()
    if mode == "killed":
        killed(world, folder)
    else:
        save_result(compare(world, folder, more_ranks))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
