"""Runs in MLflow, by its client: a tracking server, a database or a folder.

MLFLOW_TRACKING_URI names it, MLFLOW_EXPERIMENT_NAME the experiment. Tried with MLflow 3.18.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from hvdcore.tracking.tracker.backend import Point, RunInfo, Status

__all__ = ["MlflowBackend"]

_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_PARAM_CHARACTERS = 500  # of servers before MLflow 2.8; later ones take 6,000
_PARAMS_AT_ONCE, _METRICS_AT_ONCE = 100, 1000
# A server that is away would hold up the start, and later the end, for half an hour.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


class MlflowBackend:
    """A run in MLflow.

    Args:
        info: what the service shows about the run.
    """

    name = "mlflow"

    def __init__(self, info: RunInfo) -> None:
        self._info = info
        self._run_id = ""
        for variable, value in _PATIENCE.items():
            os.environ.setdefault(variable, value)
        self._client: MlflowClient | None = None

    def start(self, run_id: str | None) -> str:
        """Open the run of that id again, or a new one in the experiment."""
        client = self._client = self._client or MlflowClient()
        if run_id is not None:
            client.update_run(run_id, status="RUNNING")
            self._run_id = run_id
            return run_id
        project = os.environ.get("MLFLOW_EXPERIMENT_NAME") or self._info.project
        found = client.get_experiment_by_name(project)
        experiment = client.create_experiment(project) if found is None else found.experiment_id
        self._run_id = str(client.create_run(experiment, run_name=self._info.name).info.run_id)
        params = [
            Param(name, str(value)[:_PARAM_CHARACTERS]) for name, value in _flat(self._info.config)
        ]
        for at in range(0, len(params), _PARAMS_AT_ONCE):
            client.log_batch(self._run_id, params=params[at : at + _PARAMS_AT_ONCE])
        return self._run_id

    def send(self, points: Sequence[Point]) -> None:
        """Add points in as few requests as MLflow allows."""
        assert self._client is not None
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for at in range(0, len(metrics), _METRICS_AT_ONCE):
            self._client.log_batch(self._run_id, metrics=metrics[at : at + _METRICS_AT_ONCE])

    def finish(self, status: Status, files: Sequence[Path]) -> None:
        """Upload the files and end the run."""
        assert self._client is not None
        self._client.set_terminated(self._run_id, _STATUS[status])
        for file in files:
            self._client.log_artifact(self._run_id, str(file))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
