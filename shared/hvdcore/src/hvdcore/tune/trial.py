"""One trial: the validation points that it has written, its process, why it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from hvdcore.errors import UserError
from hvdcore.run.run_dir import RunDir
from hvdcore.tune.tunable import Objective

__all__ = [
    "LocalProcess",
    "Process",
    "Run",
    "TrialRun",
    "console_log",
    "user_errors",
    "why_it_ended",
]


def console_log(run: Path) -> Path:
    """What the trial's launcher and its rank 0 printed."""
    return run / "logs" / "console.log"


class Run:
    """A trial's run directory, as a tuner reads it while it grows.

    Args:
        number: Optuna's.
        path: the run directory.
        seen: val points that were read before; it grows with each that is read.
    """

    seconds: float | None = None
    """From its launch on; None where its tuner was killed."""

    def __init__(self, number: int, path: Path, seen: int = 0) -> None:
        self.number = number
        self.path = path
        self.is_pruned = False
        """Judged not promising."""
        self.went_on = False
        """Wrote a validation point after the one that decided this."""
        self.is_interrupted = False
        self.seen = seen
        self._num_bytes = -1

    def new_values(self, objective: Objective) -> list[tuple[int, float]]:
        """(number of the val point from 1, value) of each that was written since the last call."""
        with contextlib.suppress(FileNotFoundError):
            num_bytes = RunDir(self.path).metrics.stat().st_size
            if num_bytes != self._num_bytes:
                self._num_bytes = num_bytes
                values = objective.values(RunDir(self.path).read_metrics())
                new = list(enumerate(values, start=1))[self.seen :]
                self.seen = len(values)
                return new
        return []


class Process(Protocol):
    """A launcher that was started, here or elsewhere."""

    def exit_code(self) -> int | None:
        """As `hvdcore.launch.launch.launch` gives it; None while it runs."""
        ...

    def stop(self) -> None:
        """SIGTERM to the launcher: the first time the ranks save, the second ends them at once."""
        ...

    def kill(self) -> None:
        """SIGKILL the launcher; its ranks' supervisors notice and end them."""
        ...


class LocalProcess:
    """A launcher that is a child of the process that makes this.

    Args:
        log: gets what it prints.
        command: what is started, in a session of its own: Ctrl-C is for the tuner, which passes it
            on in good order.
        env: its whole environment.
    """

    def __init__(self, log: Path, command: list[str], env: Mapping[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        code = self._process.poll()
        # Before the launcher has set its handlers a signal ends it at once.
        return code if code is None or code >= 0 else 128 - code

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class TrialRun(Run):
    """A trial that was started: its run directory and its launcher."""

    def __init__(self, number: int, path: Path, process: Process) -> None:
        super().__init__(number, path)
        self._started_at = time.monotonic()
        self._process = process
        self.stop, self.kill = process.stop, process.kill

    def exit_code(self) -> int | None:
        """As `Process.exit_code`."""
        code = self._process.exit_code()
        if code is not None and self.seconds is None:
            self.seconds = time.monotonic() - self._started_at
        return code


def why_it_ended(run: Path) -> str:
    """The line that names the failure: the launcher's own, else the last that was printed."""
    lines = _printed(run)
    named = [line for line in lines if line.startswith(("error: ", "rank "))]
    if not lines and not run.exists():
        return f"{run}: removed while the trial ran; call tune again, or give another --output-dir"
    return (named or lines or ["it printed nothing"])[-1][:500]


def user_errors(run: Path) -> UserError:
    """All that the run found wrong with what the user gave."""
    found = [line for line in _printed(run) if line.startswith("error: ")]
    return UserError(*(line.removeprefix("error: ") for line in found or [why_it_ended(run)]))


def _printed(run: Path) -> list[str]:
    try:
        text = console_log(run).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]
