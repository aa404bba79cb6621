"""The run directory: where each file of a run is, and who may write it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.atomic import writing
from hvdcore.files.json_files import read_json_object, write_json_atomically
from hvdcore.run.lock import LOCK_FOLDER
from hvdcore.runtime.software import collect_environment
from hvdcore.tracking.metrics_log import MetricsLog, Trimmed
from hvdcore.tracking.tracker.backend import RunInfo
from hvdcore.tracking.tracker.fields import TrackingFields
from hvdcore.tracking.tracker.tracker import Tracker, open_tracker

__all__ = ["RunDir", "default_run_dir"]

FOLDERS = ("tensorboard", "checkpoints", "logs", "model", "figures")


class RunDir:
    """Paths and files of one run. Making one touches no disk: every rank may hold it.

    Args:
        path: the directory. Use `RunDir.create` (rank 0) to make it, `RunDir.open` to read one.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.env = self.path / "env.json"
        self.metrics = self.path / "metrics.jsonl"
        self.report = self.path / "report.json"
        self.report_html = self.path / "report.html"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.pretraining = self.checkpoints / "pretraining"
        self.logs = self.path / "logs"
        self.model = self.path / "model"
        self.figures = self.path / "figures"
        self.profile = self.path / "profile"
        self._metrics_log = MetricsLog(self.metrics)

    @classmethod
    def create(
        cls, root: Path | str, package: str, config: Any, *, resuming: bool = False
    ) -> RunDir:
        """Make the directory and write config.json and env.json. Rank 0 only, before the others
        use it.

        A folder that holds nothing but `logs/`, the lock and empty folders counts as new, since the
        launcher writes logs before the run begins.

        Args:
            root: the run directory itself.
            package: the distribution that trains, recorded in env.json.
            config: the resolved configuration, a pydantic model or a mapping.
            resuming: continue in a directory that already holds a run; the environments of earlier
                starts are kept in env.json under `earlier_starts`.

        Raises:
            UserError: when the directory holds something already, or cannot be written.
        """
        run = cls(root)
        run.check_free(resuming=resuming)
        with writing(run.path):
            for folder in FOLDERS:
                (run.path / folder).mkdir(parents=True, exist_ok=True)
        values = config.model_dump(mode="json") if hasattr(config, "model_dump") else config
        write_json_atomically(run.config, values)
        write_json_atomically(run.env, run._environment(package))
        return run

    def check_free(self, *, resuming: bool = False) -> None:
        """Check that `create` may take the directory; nothing is written.

        Raises:
            UserError: when the directory holds something already.
        """
        used = self._entries()
        if used and not resuming:
            raise UserError(
                f"output_dir: {self.path} is not empty (it holds {used[0]}); give another"
                " --output-dir, or --resume auto to resume the run in it"
            )
        if used and not (self.config.exists() or self.checkpoints.exists()):
            raise UserError(
                f"output_dir: {self.path} holds {used[0]} but no run to resume; give the"
                " directory of a run, or a new one"
            )

    @classmethod
    def open(cls, path: Path | str) -> RunDir:
        """A directory that holds a run.

        Raises:
            UserError: when it does not, saying what is missing.
        """
        run = cls(path)
        if not run.path.exists():
            raise UserError(f"{run.path}: no such run directory; check the path")
        if not run.path.is_dir():
            raise UserError(f"{run.path}: a file; give the run directory that holds config.json")
        if not run.config.is_file():
            raise UserError(
                f"{run.path}: not a run directory (no config.json); give the --output-dir of a run"
            )
        return run

    def read_config(self) -> dict[str, Any]:
        """config.json as a dict.

        Raises:
            UserError: when it is missing or not JSON.
        """
        return read_json_object(self.config)

    def read_report(self) -> dict[str, Any]:
        """report.json as a dict.

        Raises:
            UserError: there is none, for the training has not ended.
        """
        if not self.report.is_file():
            raise UserError(
                f"{self.path}: no report.json; finish the training first (--resume auto)"
            )
        return read_json_object(self.report)

    def append_metrics(self, values: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl; give `step`, `epoch`, `split`. Rank 0 only.

        Raises:
            UserError: when the disk is full or cannot be written.
        """
        self._metrics_log.append(values)

    def trim_metrics(self, after_step: int) -> Trimmed:
        """Drop the lines that the resumed run will write again. Rank 0 only."""
        return self._metrics_log.trim(after_step)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every whole line of metrics.jsonl, in the order written."""
        return list(self._metrics_log.read())

    def open_tracker(self, config: TrackingFields, package: str) -> Tracker | None:
        """The tracker that the configuration names, if any. Rank 0 only, after `create`.

        Raises:
            UserError: it is not installed, or a new run cannot be opened.
        """
        info = RunInfo(package, self.path, config.model_dump(mode="json"))
        return open_tracker(config.tracker, info, self._metrics_log.read())

    def write_json(self, name: str, value: Any) -> Path:
        """Write `name` (such as report.json) in the run directory, atomically. Rank 0 only.

        Raises:
            UserError: when the disk is full or cannot be written.
        """
        path = self.path / name
        write_json_atomically(path, value)
        return path

    def _entries(self) -> list[str]:
        """Names of what is there, without logs, the lock and empty folders."""
        if not self.path.exists():
            return []
        if not self.path.is_dir():
            raise UserError(f"output_dir: {self.path} is a file; give a directory")
        return sorted(
            entry.name
            for entry in self.path.iterdir()
            if entry.name not in ("logs", LOCK_FOLDER)
            and not (entry.is_dir() and not any(entry.iterdir()))
        )

    def _environment(self, package: str) -> dict[str, Any]:
        now = collect_environment(package)
        if self.env.exists():
            try:
                before = read_json_object(self.env)
                now["earlier_starts"] = [*before.pop("earlier_starts", []), before]
            except UserError:
                now["earlier_starts"] = []
        return now


def default_run_dir(package: str, root: Path | str = "runs", now: datetime | None = None) -> Path:
    """`runs/<package>/<time>`, the first of `<time>`, `<time>-2`, ... that does not exist.

    Call it once, in the process that starts the ranks: each rank's clock tells another time.
    """
    time = (now or datetime.now()).strftime("%Y%m%d-%H%M%S")
    folder = Path(root) / package
    path, number = folder / time, 1
    while path.exists():
        number += 1
        path = folder / f"{time}-{number}"
    return path
