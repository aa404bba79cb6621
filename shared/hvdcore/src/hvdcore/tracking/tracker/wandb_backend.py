"""Runs in Weights & Biases. WANDB_MODE, WANDB_PROJECT, WANDB_API_KEY, ... configure it.

Offline (WANDB_MODE=offline) each start writes a folder of its own with the same run id, which
`wandb sync` puts together. Tried with wandb 0.31.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb

from hvdcore.tracking.tracker.backend import Point, RunInfo, Status

__all__ = ["WandbBackend"]

_INIT_SECONDS = 20
"""For opening a run, unless the user set WANDB_INIT_TIMEOUT: behind a dead proxy wandb waits 90."""


class WandbBackend:
    """A run in Weights & Biases.

    Args:
        info: what the service shows about the run; its files are below the run directory.
    """

    name = "wandb"

    def __init__(self, info: RunInfo) -> None:
        self._info = info
        self._run: Any = None
        os.environ.setdefault("WANDB_INIT_TIMEOUT", str(_INIT_SECONDS))

    def start(self, run_id: str | None) -> str:
        """Open the run of that id again, or a new one."""
        run_id = run_id or os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or self._info.project,
            name=self._info.name,
            id=run_id,
            resume="allow",
            dir=self._info.path,
            config=dict(self._info.config),
            # What the rank prints is in its log, and belongs to the launcher's terminal.
            settings=wandb.Settings(silent=True, console="off"),
        )
        # Not wandb's own count of steps, which cannot go back: val follows train at one step.
        self._run.define_metric("*", step_metric="step")
        return run_id

    def send(self, points: Sequence[Point]) -> None:
        """Add points; `step` is the axis of every curve."""
        for point in points:
            self._run.log({"step": point.step, **point.values})

    def finish(self, status: Status, files: Sequence[Path]) -> None:
        """Keep the files with the run and end it."""
        for file in files:
            self._run.save(str(file), base_path=str(self._info.path), policy="now")
        self._run.finish(exit_code=0 if status == "finished" else 1)
