"""`FitCheckpoints`: a training by `fit` that is resumed in the middle of an epoch, to the bit.

A checkpoint holds the weights, the optimizer's variables, the position in the data, and what each
rank has of its own: the states of its random layers and its sums of the metrics.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from hvdcore.errors import UserError
from hvdcore.keras.collectives import allgather_rows, broadcast_object
from hvdcore.keras.optimizer import batches_per_update, distribution_of
from hvdcore.keras.shard import TrainShard
from hvdcore.keras.weights import average_statistics, seed_states, spread_seed
from hvdcore.run.checkpoint import Checkpoint, CheckpointWriter, require_same_run
from hvdcore.run.start import start_run
from hvdcore.runtime.heartbeat import beat
from hvdcore.sharding import Position

__all__ = ["FitCheckpoints"]

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
RANKS = "ranks.safetensors"
"""Of each variable that is each rank's own, the values of all ranks, in rank order."""

Array = npt.NDArray[Any]


class FitCheckpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes checkpoints during `fit`, and resumes from one in the middle of its epoch.

    Make it on every rank before `fit`, and put it among the callbacks behind those that change the
    model or the learning rate, and before `StopTogether`. It writes after every `every_steps`
    steps, at the end of each epoch, and where training stops. The resumed training is the one that
    was never stopped: on the same number of ranks to the bit, in weights and in the history; on
    another number up to rounding. Early stopping and the like, which count epochs by
    themselves, start again.

    Checkpoints are whole or do not count, and do not depend on the number of ranks. Moving
    statistics (batch normalization) are averaged over ranks for each.

    Args:
        output_dir: the run's directory, on a file system that all ranks see.
        train: what `fit` is given.
        every_steps: None for the ends of epochs alone. Where an update takes several batches
            (`gradient_accumulation_steps`, `backward_passes_per_step`) a multiple of them: no
            checkpoint is written between.
        resume: `never`, `auto` (the newest checkpoint of `output_dir`, if any), or the path of a
            checkpoint or run.
        config: JSON values that a resumed run must share, such as the shape of the model. Data,
            batch size and seed are known from `train`.
        keep: how many checkpoints to keep.
        in_background: write while training goes on, from a copy in rank 0's memory.

    Attributes:
        run: the run's directory (`hvdcore.run.run_dir.RunDir`).
        position: where the training stands.

    Raises:
        UserError: the directory is in use, or there is no checkpoint of this training in it.
    """

    def __init__(
        self,
        output_dir: Path | str,
        train: TrainShard,
        *,
        every_steps: int | None = None,
        resume: str = "never",
        config: Mapping[str, Any] | None = None,
        keep: int = 2,
        in_background: bool = True,
    ) -> None:
        super().__init__()
        if every_steps is not None and every_steps < 1:
            raise UserError(f"every_steps: got {every_steps}; give 1 or more")
        self._train, self._every_steps, self._world = train, every_steps, train.world
        self._fingerprint = {**(config or {}), **train.fingerprint()}
        self.run, self._resumed_from = start_run(
            Path(output_dir), "hvdcore", self._fingerprint, resume,
            fingerprint=self._fingerprint, world=self._world, broadcast=broadcast_object,
        )  # fmt: skip
        self.position = Position()
        if self._resumed_from is not None:
            self.position = Position.from_json(self._resumed_from.meta["position"])
        train.start_at(self.position)
        self._writer = CheckpointWriter(
            self.run.checkpoints, keep=keep, in_background=in_background,
            is_root=self._world.is_root, broadcast=broadcast_object,
        )  # fmt: skip
        self._saved_step: int | None = None
        self._earlier_metrics: list[Array] = []
        self._first_step = 0
        self._batches_per_update = 1
        self._without_warning = ExitStack()

    @property
    def initial_epoch(self) -> int:
        """For `fit`."""
        return self.position.epoch

    @property
    def step(self) -> int:
        """Steps made so far, over all epochs."""
        return self.position.epoch * self._train.num_steps + self.position.step

    def on_train_begin(self, logs: Any = None) -> None:
        self._check_fit()
        if self._resumed_from is not None:
            self._restore(self._resumed_from)
            self._saved_step, self._resumed_from = self.step, None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch != self.position.epoch:
            raise UserError(
                f"initial_epoch: fit begins with epoch {epoch}, but the data with epoch "
                f"{self.position.epoch}; give initial_epoch=checkpoints.initial_epoch"
            )
        self._first_step = self.position.step

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._first_step + batch >= self._train.num_steps:
            # An epoch that began in its middle is over. Keras, which counts whole epochs, takes
            # this for the end of the data, about which it would warn.
            self._without_warning.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "Your input ran out of data")
            raise StopIteration

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._train.check_order()
        self._add_earlier_metrics()
        before, epoch = self.step, self.position.epoch
        done = self._first_step + batch + 1
        self.position = self._position_after(epoch, done)
        if done < self._train.num_steps and (self._is_due(before) or self._stops()):
            self._save(with_metrics=True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._without_warning.close()
        self._save(with_metrics=False)

    def on_train_end(self, logs: Any = None) -> None:
        self._writer.finish()

    def _check_fit(self) -> None:
        model, steps = self.model, self._train.num_steps
        if not model.built:
            raise UserError("model: not built; call it on a batch, or give it an Input, first")
        if self.params.get("steps") != steps:
            raise UserError(
                f"fit: it makes {self.params.get('steps')} steps an epoch, and train has {steps};"
                " give fit the TrainShard of FitCheckpoints, without steps_per_epoch"
            )
        if steps % model.steps_per_execution:
            raise UserError(
                f"steps_per_execution: {model.steps_per_execution} does not divide the {steps}"
                " steps of an epoch; give 1 or a divisor"
            )
        self._batches_per_update = batches_per_update(model.optimizer)
        if (self._every_steps or 0) % self._batches_per_update:
            raise UserError(
                f"every_steps: {self._every_steps} is not a multiple of the"
                f" {self._batches_per_update} batches that the optimizer adds up for an update;"
                f" give one"
            )

    def _position_after(self, epoch: int, done: int) -> Position:
        steps = self._train.num_steps
        samples_seen = (epoch * steps + done) * self._train.global_batch_size
        return Position(epoch + done // steps, done % steps, samples_seen)

    def _is_due(self, before: int) -> bool:
        every = self._every_steps
        return every is not None and self.step // every > before // every

    def _stops(self) -> bool:
        """Whether this was the last step, as far as all ranks know it."""
        distribution = distribution_of(self.model.optimizer)
        agreed = distribution is not None and distribution.reduction.stop_agreed()
        return agreed or (self._world.size == 1 and self.model.stop_training)

    def _save(self, *, with_metrics: bool) -> None:
        """Every rank must call. `with_metrics`: they hold the sums of the epoch so far."""
        # Between two updates each rank has summed up gradients of its own.
        if self.step == self._saved_step or self.step % self._batches_per_update:
            return
        beat("checkpoint", self.step)
        average_statistics(self.model)
        own = self._own_variables(with_metrics=with_metrics)
        ranks = _gathered(own)
        self._writer.begin()
        if self._world.is_root:
            files = {
                MODEL: _copies(self.model.weights),
                OPTIMIZER: _copies(self.model.optimizer.variables),
                RANKS: ranks,
            }
            meta = {**self._fingerprint, "position": self.position.to_json()}
            self._writer.save(self.step, lambda folder: _write(files, folder), meta=meta)
        self._writer.end()
        self._saved_step = self.step

    def _own_variables(self, *, with_metrics: bool) -> dict[str, Any]:
        """What differs between ranks, by its name in a checkpoint."""
        own = {f"seed-{i:04d}": v for i, v in enumerate(seed_states(self.model))}
        metrics = _metric_variables(self.model) if with_metrics else []
        return {**own, **{f"metric-{i:04d}": v for i, v in enumerate(metrics)}}

    def _restore(self, checkpoint: Checkpoint) -> None:
        require_same_run(self._fingerprint, checkpoint.meta)
        self.model.optimizer.build(self.model.trainable_variables)
        _assign("model", self.model.weights, checkpoint.file(MODEL))
        _assign("optimizer", self.model.optimizer.variables, checkpoint.file(OPTIMIZER))
        ranks = load_file(checkpoint.file(RANKS))
        self._restore_seeds([ranks[name] for name in sorted(ranks) if name.startswith("seed")])
        metrics = [ranks[name] for name in sorted(ranks) if name.startswith("metric")]
        if metrics and len(metrics[0]) == self._world.size:
            self._earlier_metrics = [rows[self._world.rank] for rows in metrics]
        elif self._world.is_root:
            self._earlier_metrics = [rows.sum(axis=0, dtype=rows.dtype) for rows in metrics]

    def _restore_seeds(self, saved: Sequence[Array]) -> None:
        states = seed_states(self.model)
        if [s.shape[1:] for s in saved] != [tuple(s.shape) for s in states]:
            raise _other_model("model", "other random layers")
        for rows, state in zip(saved, states, strict=True):
            rank = self._world.rank if self._world.rank < len(rows) else 0
            state.assign(rows[rank])
            if rank != self._world.rank:
                spread_seed(state, self._world.rank)

    def _add_earlier_metrics(self) -> None:
        """After the first step, in which Keras makes the variables of the metrics: sums."""
        if not self._earlier_metrics:
            return
        variables = _metric_variables(self.model)
        if [tuple(v.shape) for v in variables] != [a.shape for a in self._earlier_metrics]:
            raise _other_model("metrics", "other metrics")
        for variable, earlier in zip(variables, self._earlier_metrics, strict=True):
            variable.assign(earlier + variable.numpy())
        self._earlier_metrics = []


def _other_model(name: str, what: str) -> UserError:
    return UserError(
        f"{name}: the checkpoint was written with {what}; build and compile the model as it was"
    )


def _metric_variables(model: Any) -> list[Any]:
    return [v for metric in model.metrics for v in metric.variables]


def _gathered(variables: Mapping[str, Any]) -> dict[str, Array]:
    """The values of all ranks of each variable, [size, ...]. Every rank must call."""
    values = {name: np.asarray(v.numpy(), order="C") for name, v in variables.items()}
    rows = allgather_rows(b"".join(value.tobytes() for value in values.values()))
    gathered, start = {}, 0
    for name, value in values.items():
        parts = [np.frombuffer(row[start : start + value.nbytes], value.dtype) for row in rows]
        gathered[name] = np.stack([part.reshape(value.shape) for part in parts])
        start += value.nbytes
    return gathered


def _copies(variables: Sequence[Any]) -> dict[str, Array]:
    """Copies of the values by position: Keras numbers names by what else the process has built."""
    return {f"{i:04d}": _as_numbers(np.array(v.numpy())) for i, v in enumerate(variables)}


def _as_numbers(array: Array) -> Array:
    """safetensors knows no bfloat16 of NumPy's: their bits as integers."""
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array


def _write(files: Mapping[str, dict[str, Array]], folder: Path) -> None:
    for name, arrays in files.items():
        save_file(arrays, folder / name)


def _assign(name: str, variables: Sequence[Any], path: Path) -> None:
    """Set variables to what a file holds.

    Raises:
        UserError: it holds the variables of another model or optimizer.
    """
    tensors = load_file(path)
    saved = [tensors[key] for key in sorted(tensors)]
    if [t.shape for t in saved] != [tuple(v.shape) for v in variables]:
        what = f"{len(saved)} variables, not these {len(variables)}, or of other shapes"
        raise _other_model(name, what)
    for tensor, variable in zip(saved, variables, strict=True):
        dtype = variable.numpy().dtype
        variable.assign(tensor.view(dtype) if dtype.kind == "V" else tensor)
