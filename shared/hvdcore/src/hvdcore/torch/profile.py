"""Profiling a few training steps: Horovod's timeline and PyTorch's trace of each rank; step times.

Both traces are Chrome trace events in JSON, for chrome://tracing or ui.perfetto.dev.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from time import perf_counter

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from hvdcore.files.atomic import writing
from hvdcore.metrics.step_times import WARM_UP_STEPS, StepTimes
from hvdcore.runtime.world import World
from hvdcore.torch.collectives import communication_seconds, engine
from hvdcore.torch.sharded import ShardedOptimizer
from hvdcore.tracking.logs import get_logger

ACTIVE_STEPS = 5
TIMELINE = "timeline.json"

logger = get_logger(__name__)


def plan_steps(num_steps: int) -> tuple[int, int, int]:
    """(skipped, warming the profiler up, traced): the first steps of a run are not like the rest.

    >>> [plan_steps(n) for n in (1, 3, 7, 1000)]
    [(0, 0, 1), (0, 0, 3), (1, 1, 5), (5, 1, 5)]
    """
    active = min(ACTIVE_STEPS, num_steps)
    warm_up = min(1, num_steps - active)
    return min(WARM_UP_STEPS, num_steps - active - warm_up), warm_up, active


class StepProfile:
    """Profiles the first steps that are worth it: a context manager around the training loop.

    Every rank must hold one and call it alike. Horovod's timeline tells of the collectives of all
    ranks, from the start on; it needs `hvdcore.torch.init(timeline=True)`, and two ranks or more,
    as one has no collectives.

    Args:
        folder: gets `timeline.json`, and `rank-N.json` of each rank; with None nothing is done.
        num_steps: steps that the loop will make.
    """

    def __init__(self, folder: Path | None, world: World, num_steps: int) -> None:
        self._world = world
        self._folder = folder if num_steps > 0 else None
        self._profiler: profile | None = None
        self._steps_left = sum(plan_steps(num_steps))
        self._plan = plan_steps(num_steps)

    def __enter__(self) -> StepProfile:
        if self._folder is not None:
            with writing(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            if self._world.size > 1:
                engine().start_timeline(str(self._folder / TIMELINE))
            self._profiler = self._start(self._folder / f"rank-{self._world.rank}.json")
        return self

    def _start(self, path: Path) -> profile:
        skipped, warm_up, active = self._plan
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)

        def save(traced: profile) -> None:
            with writing(path):
                traced.export_chrome_trace(str(path))

        with warnings.catch_warnings():
            # A run of few steps has none to spare for the profiler's own warm-up.
            warnings.filterwarnings("ignore", message="Profiler won't be using warmup")
            steps = schedule(wait=skipped, warmup=warm_up, active=active, repeat=1)
        profiler = profile(
            activities=activities, schedule=steps, on_trace_ready=save, record_shapes=True
        )
        profiler.start()
        return profiler

    def step(self) -> None:
        """A step has ended."""
        if self._profiler is None:
            return
        self._profiler.step()
        self._steps_left -= 1
        if self._steps_left == 0:
            self._end()

    def _end(self) -> None:
        if self._profiler is None or self._folder is None:
            return
        if self._world.size > 1:
            engine().stop_timeline()  # first: writing a trace takes long enough for the next step
        self._profiler.stop()
        self._profiler = None
        if self._world.is_root:
            logger.info("%s", self._told(self._folder))

    def _told(self, folder: Path) -> str:
        """What was written, and where to look at it."""
        if not (folder / "rank-0.json").exists():
            return f"profile: {folder}: the run ended before the steps to trace"
        timeline = f"{TIMELINE} (collectives of all ranks) and " if self._world.size > 1 else ""
        return (
            f"profile: {folder}: open {timeline}rank-N.json (operations of a rank) in "
            "chrome://tracing or ui.perfetto.dev"
        )

    def __exit__(self, *exception: object) -> None:
        self._end()


class StepClock:
    """Runs from the start of a step, where it is made, to `times`.

    On a GPU a step ends when its sums are known, as `ShardedOptimizer.step` does; its update is
    then still under way, and counts for the next step.
    """

    def __init__(self, optimizer: ShardedOptimizer) -> None:
        self._optimizer = optimizer
        self._waited = communication_seconds()
        self._updated = optimizer.update_seconds
        self._data = 0.0
        self._began = perf_counter()

    def fetched(self) -> None:
        """The batch is here."""
        self._data = perf_counter() - self._began

    def times(self) -> StepTimes:
        """The step has ended."""
        return StepTimes(
            data=self._data,
            communicate=communication_seconds() - self._waited,
            total=perf_counter() - self._began,
            update=self._optimizer.update_seconds - self._updated,
        )
