"""The study: Optuna's record of all trials on disk, what is tried next, and how trials ended.

The file is SQLite, so that a killed tuner loses no finished trial. Optuna's journal would do for
this too, but one torn last line makes it unreadable, and its lock outlives a killed holder by half
a minute.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from hvdcore.tune.space import Categorical, Dimension, Int, Space

__all__ = [
    "INTERRUPTED",
    "REPEATS",
    "Study",
    "make_distribution",
    "make_pruner",
    "make_sampler",
    "open_storage",
    "reported",
]


def make_distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's word for a dimension."""
    if isinstance(dimension, Categorical):
        return CategoricalDistribution(dimension.choices)
    if isinstance(dimension, Int):
        return IntDistribution(dimension.low, dimension.high, dimension.log, dimension.step)
    return FloatDistribution(dimension.low, dimension.high, dimension.log)


def make_sampler(seed: int, place: int) -> TPESampler:
    """The sampler for one place in the sequence of trials.

    It is seeded anew for each: a sampler that begins again after a kill would draw the first values
    of the study a second time. Trials that run are counted as bad ones, so that those beside each
    other differ.
    """
    digest = hashlib.sha256(f"{seed}:{place}".encode()).digest()
    return TPESampler(seed=int.from_bytes(digest[:4], "big"), constant_liar=True)


def make_pruner(name: str) -> BasePruner:
    """Steps are counted in val points, from 1: trials of other batch sizes stay comparable."""
    if name == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=2)
    if name == "halving":
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return NopPruner()


def open_storage(path: Path) -> RDBStorage:
    """The storage in an SQLite file, made when it is not there."""
    file = path.resolve()
    return RDBStorage(f"sqlite:///{file}", engine_kwargs={"creator": partial(_connect, file)})


def _connect(path: Path) -> sqlite3.Connection:
    """A write-ahead log waits for the disk once in a while, in place of twenty times a trial: a
    kill loses nothing, and a power cut the last moments at most, never the file."""
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


INTERRUPTED = "interrupted"
"""Attribute of a trial that was stopped through no fault of its own; its values are tried again."""
REPEATS = "repeats"
"""Attribute of a trial that tries the values of an interrupted one again: that one's number."""

_NAME = "study"


class Study:
    """All trials of a study, finished or not. One process writes; use it as a context manager.

    Args:
        path: the SQLite file; created, or opened again.
        seed: with one trial at a time the same seed and values give the same sequence of
            parameters, whether the study was interrupted or not.
    """

    def __init__(
        self,
        path: Path,
        space: Space,
        *,
        direction: Literal["minimize", "maximize"],
        seed: int,
        pruner: str = "median",
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._seed = seed
        self.prunes = pruner != "none"
        """Whether trials are to be stopped early at all."""
        self._asked: dict[int, Trial] = {}
        self._distributions = {name: make_distribution(space[name]) for name in sorted(space)}
        self._storage = open_storage(path)
        self.optuna = optuna.create_study(
            storage=self._storage,
            study_name=_NAME,
            direction=direction,
            load_if_exists=True,
            pruner=make_pruner(pruner),
        )

    def ask(self) -> Trial:
        """A new trial: the values of an interrupted one that was not tried again, else new ones."""
        place = len(self.counted(self.trials()))
        self.optuna.sampler = make_sampler(self._seed, place)
        trial = self.optuna.ask(self._distributions)
        self._asked[trial.number] = trial
        return trial

    def trials(self) -> list[FrozenTrial]:
        """All trials, by number; those that wait to be tried again left out."""
        every = self.optuna.get_trials(deepcopy=False)
        return [trial for trial in every if trial.state != TrialState.WAITING]

    @staticmethod
    def counted(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Those that count for `--trials`: running, or ended in another way than interrupted."""
        return [trial for trial in trials if not trial.user_attrs.get(INTERRUPTED)]

    def record(self, number: int) -> Trial:
        """A trial that was asked for here: report to it, and ask whether it is promising."""
        return self._asked[number]

    def adopt(self, number: int) -> None:
        """Take up a running trial that another process asked for."""
        self._asked[number] = Trial(self.optuna, self._id(number))

    def values(self, number: int) -> list[float]:
        """The values of a trial's val points, in order."""
        return reported(self._storage.get_trial(self._id(number)))

    def has_finished(self) -> bool:
        """Whether a trial has come to its end, or was pruned on the way."""
        good = (TrialState.COMPLETE, TrialState.PRUNED)
        return any(trial.state in good for trial in self.trials())

    def complete(self, number: int, value: float, seconds: float | None) -> None:
        """The trial came to its end; `seconds` None where its tuner did not live to see it."""
        self._note(number, seconds=seconds)
        self.optuna.tell(number, value)

    def prune(self, number: int, seconds: float | None) -> None:
        """The trial was stopped for it was not promising; its last value is kept."""
        self._note(number, seconds=seconds)
        self.optuna.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, seconds: float | None, reason: str, log: str | None) -> None:
        """The trial failed; `log` None where it was never started."""
        self._note(number, seconds=seconds, reason=reason, log=log)
        self.optuna.tell(number, state=TrialState.FAIL)

    def interrupt(self, number: int, seconds: float | None = None) -> None:
        """The trial was stopped from outside: its values will be tried again."""
        self._note(number, seconds=seconds, **{INTERRUPTED: True})
        self.optuna.tell(number, state=TrialState.FAIL)
        self.queue_interrupted()

    def queue_interrupted(self) -> None:
        """Queue the values of each interrupted trial once, whenever the last tuner was killed."""
        every = self.optuna.get_trials(deepcopy=False)
        again = {trial.user_attrs.get(REPEATS) for trial in every}
        for trial in every:
            if trial.user_attrs.get(INTERRUPTED) and trial.number not in again:
                self.optuna.enqueue_trial(trial.params, user_attrs={REPEATS: trial.number})

    def running(self) -> list[FrozenTrial]:
        """Trials that are recorded as running: at the start of a tuner, those of a killed one."""
        return [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    def importances(self) -> dict[str, float]:
        """Each parameter's share in what made trials good, by PED-ANOVA (Watanabe et al., 2023);
        empty where it cannot be computed: fewer than four complete trials, or all equal."""
        done = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        if len(done) < 4 or len({trial.value for trial in done}) < 2:
            return {}
        try:
            return optuna.importance.get_param_importances(self.optuna)
        except (ValueError, RuntimeError):
            return {}

    def _note(self, number: int, **values: Any) -> None:
        for name, value in values.items():
            if value is not None:
                self._storage.set_trial_user_attr(self._id(number), name, value)

    def _id(self, number: int) -> int:
        study = self._storage.get_study_id_from_name(_NAME)
        return self._storage.get_trial_id_from_study_id_trial_number(study, number)

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *exception: object) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()


def reported(trial: FrozenTrial) -> list[float]:
    """The values of its val points, in order."""
    return [value for _, value in sorted(trial.intermediate_values.items())]
