"""One call of `tune` on a study: opens or resumes it, searches, and writes the results."""

from __future__ import annotations

import sys
from typing import Any

from hvdcore.files.json_files import write_json_atomically
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.signals import SignalInbox
from hvdcore.tune.engine import Engine, open_engine
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.plan import Plan
from hvdcore.tune.progress import SearchProgress
from hvdcore.tune.report import write_study_page
from hvdcore.tune.results import TrialRow, best_row, params_text, shown, trial_rows, write_results
from hvdcore.tune.search import Search, hear, settle
from hvdcore.tune.study import Study
from hvdcore.tune.trial import Run, TrialRun

__all__ = ["Session"]


class Session:
    """A study that is open for work. Use it as a context manager, inside `StudyFolder.taken`."""

    def __init__(self, plan: Plan, folder: StudyFolder) -> None:
        self.plan = plan
        self.folder = folder
        self.study = Study(
            folder.storage,
            plan.space,
            direction=plan.objective.direction,
            seed=plan.seed,
            pruner=plan.limits.pruner,
        )

    def run(self, inbox: SignalInbox) -> int | None:
        """Search; None, or the signal that ended it.

        Raises:
            UserError: the first trials found the shared configuration wrong.
        """
        with open_engine(self.plan, self.folder) as engine:
            return self._search(inbox, engine)

    def _search(self, inbox: SignalInbox, engine: Engine) -> int | None:
        plan = self.plan
        progress = SearchProgress(plan.limits.trials, plan.objective.metric, engine.num_parallel)
        with progress:
            self._take_up(progress)

            def on_end(number: int) -> None:
                rows = self.rows()
                best = write_results(self.folder, plan, rows)
                row = next(row for row in rows if row.number == number)
                progress.trial(row, rows, best)

            def start(number: int, params: dict[str, object]) -> TrialRun:
                return self._start(engine, number, params)

            return Search(
                plan, self.folder, self.study, inbox, start, on_end, progress.tick,
                num_parallel=engine.num_parallel,
            ).run()  # fmt: skip

    def _take_up(self, progress: SearchProgress) -> None:
        """Settle the trials that a killed tuner left running: done after all, or to try again."""
        if self.study.running():
            self.folder.end_former_trials(progress.say)
        for trial in self.study.running():
            path = self.folder.trial(trial.number)
            if RunDir(path).report.is_file():
                run = Run(trial.number, path, seen=max(trial.intermediate_values, default=0))
                self.study.adopt(trial.number)
                hear(self.study, self.plan.objective, run)
                settle(self.study, self.plan.objective, run, 0)
            else:
                self.study.interrupt(trial.number)
        self.study.queue_interrupted()
        rows = self.rows()
        progress.start(rows, best_row(rows, self.plan.objective))

    def _start(self, engine: Engine, number: int, params: dict[str, object]) -> TrialRun:
        config = self.plan.config(params)
        path = self.folder.trial(number)
        file = path.with_suffix(".json")
        write_json_atomically(file, config.model_dump(mode="json"))
        command = self.plan.tunable.command("train", file, "--output-dir", str(path))
        return TrialRun(number, path, engine.start(path, command))

    def rows(self) -> list[TrialRow]:
        """All trials up to now."""
        return trial_rows(self.study.trials(), self.folder, self.plan.objective)

    def write_report(self) -> TrialRow | None:
        """Write every result and tell where; the best trial, None where none came to its end."""
        rows = self.rows()
        best = write_results(self.folder, self.plan, rows)
        page = write_study_page(self.folder, self.plan, rows, best, self.study.importances())
        if best is not None:
            value = f"{self.plan.objective.metric} {shown(best.value)}"
            print(f"best: trial {best.number}, {value}; {params_text(best.params)}")
            print(self.folder.best)
        print(page)
        sys.stdout.flush()
        return best

    def __enter__(self) -> Session:
        self.study.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.study.__exit__(*exception)
