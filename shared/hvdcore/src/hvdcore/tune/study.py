"""Owns the study: Optuna's record of all trials on disk, what is tried next, and how each ended."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from hvdcore.tune.sampling import make_distribution, make_pruner, make_sampler
from hvdcore.tune.space import Space
from hvdcore.tune.storage import open_storage

__all__ = ["INTERRUPTED", "REPEATS", "Study", "reported"]

INTERRUPTED = "interrupted"
"""Attribute of a trial that was stopped through no fault of its own; its values are tried again."""
REPEATS = "repeats"
"""Attribute of a trial that tries the values of an interrupted one again: that one's number."""

_NAME = "study"


class Study:
    """All trials of a study, finished or not. One process writes; use it as a context manager.

    Args:
        path: the SQLite file; made anew, or gone on with.
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
        empty where it cannot be told: fewer than four complete trials, or all alike."""
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()


def reported(trial: FrozenTrial) -> list[float]:
    """The values of its val points, in order."""
    return [value for _, value in sorted(trial.intermediate_values.items())]
