"""A search whose trials are objects in place of processes: a hundred of them take a second."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from hvdcore.config import Config
from hvdcore.errors import UserError
from hvdcore.runtime.signals import SignalInbox
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.plan import Limits, Plan, make_plan
from hvdcore.tune.space import Categorical, Float
from hvdcore.tune.tunable import Objective, Tunable

BEST = {"rate": 0.3, "kind": "a"}
"""Where the loss of `trial_values` is least: 0.25 after four points."""


class Settings(Config):
    """What a trainer of these tests has."""

    data: str = "sample"
    seed: int = 0
    rate: float = Field(0.5, ge=0.0, le=1.0)
    kind: str = "a"
    layers: int = Field(2, ge=1)


TUNABLE = Tunable(
    package="trainer",
    config=Settings,
    space=lambda config: {"rate": Float(0.0, 1.0), "kind": Categorical(("a", "b"))},
    objectives={
        "loss": Objective("loss", "minimize", "val loss"),
        "accuracy": Objective("accuracy", "maximize", "val accuracy"),
    },
)


def plan_of(**changes: Any) -> Plan:
    """A plan with limits or fields of the configuration other than the defaults."""
    given = {"trials": 8, "parallel_trials": 1, **changes}
    limits = {n: given.pop(n) for n in Limits.model_fields if n in given}
    others = {n: given.pop(n, None) for n in ("config", "objective", "space")}
    return make_plan(TUNABLE, given, limits=limits, **others)


def trial_values(params: dict[str, Any]) -> list[float]:
    """The val losses of a trial: a square around the best, less at each of four points."""
    loss = (params["rate"] - 0.3) ** 2 + (0.1 if params["kind"] == "b" else 0.0)
    return [loss + 1 / point for point in (1, 2, 3, 4)]


@dataclass
class FakeRun:
    """A trial that gives one value at each look, and then ends with `code`; in a `burst` it gives
    all at once, and has ended before a stop reaches it."""

    number: int
    path: Path
    left: list[float]
    code: int = 0
    on_look: Callable[[FakeRun], None] = lambda run: None
    stops: int = 0
    is_pruned: bool = False
    went_on: bool = False
    is_interrupted: bool = False
    burst: bool = False
    seconds: float = 2.0
    seen: int = 0

    def exit_code(self) -> int | None:
        self.on_look(self)
        return 143 if self.stops else (None if self.left else self.code)

    def new_values(self, objective: Objective) -> list[tuple[int, float]]:
        if not self.left or self.stops:
            return []
        num_new = len(self.left) if self.burst else 1
        new, self.left = self.left[:num_new], self.left[num_new:]
        self.seen += num_new
        return list(enumerate(new, start=self.seen - num_new + 1))

    def stop(self) -> None:
        self.stops += not self.burst

    def kill(self) -> None:
        self.stops += 1


@dataclass
class Laboratory:
    """Runs searches in one folder. Each `run` is one call of `tune` there."""

    path: Path
    values: Callable[[dict[str, Any]], Sequence[float]] = trial_values
    code: Callable[[dict[str, Any]], int] = lambda params: 0
    on_look: Callable[[FakeRun], None] = lambda run: None
    started: list[dict[str, Any]] = field(default_factory=list)
    most_at_once: int = 0
    burst: bool = False
    refuse: str = ""

    def run(self, plan: Plan) -> tuple[int | None, list[Any]]:
        """(signal, rows of all trials)."""
        from hvdcore.tune.results import trial_rows
        from hvdcore.tune.search import Search
        from hvdcore.tune.study import Study

        folder = StudyFolder(self.path)
        space, goal = plan.space, plan.objective
        pruner, seed = plan.limits.pruner, plan.seed
        with (
            SignalInbox() as inbox,
            folder.taken(plan.fingerprint()),
            Study(folder.storage, space, direction=goal.direction, seed=seed, pruner=pruner) as s,
        ):
            s.queue_interrupted()
            search = Search(plan, folder, s, inbox, self._start, lambda n: None, self._tick)
            signal = search.run()
            return signal, trial_rows(s.trials(), folder, goal)

    def _start(self, number: int, params: dict[str, Any]) -> Any:
        self.started.append(params)
        if self.refuse:
            raise UserError(self.refuse)
        path = StudyFolder(self.path).trial(number)
        path.mkdir(parents=True, exist_ok=True)  # as a real trial does
        values = list(self.values(params))
        return FakeRun(number, path, values, self.code(params), self.on_look, burst=self.burst)

    def _tick(self, num_running: int) -> None:
        self.most_at_once = max(self.most_at_once, num_running)


@pytest.fixture
def laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laboratory:
    """A laboratory that does not wait between looks."""
    pytest.importorskip("optuna", reason="the extra hvdcore[tune] is not installed")
    from hvdcore.tune import search

    monkeypatch.setattr(search, "_TICK_SECONDS", 0.0)
    return Laboratory(tmp_path / "study")


@pytest.fixture(name="plan_of")
def _plan_of() -> Callable[..., Plan]:
    """`plan_of`, for the tests."""
    return plan_of


@pytest.fixture
def tunable() -> Tunable:
    """The trainer of these tests."""
    return TUNABLE


@pytest.fixture
def nan() -> float:
    """What a val point that is null becomes."""
    return math.nan
