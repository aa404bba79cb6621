"""Owns trainings in tests whose hosts come and go: started on one of them, watched, disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hvdcore.testing.hosts import TestHost, TestNetwork
from hvdcore.testing.runs import Run

__all__ = ["RunOnHosts", "WatchedRun"]

LIMIT_SECONDS = 900.0


class WatchedRun:
    """A trainer's command while it runs, and what its launcher says.

    Args:
        folder: of the test; holds what the launcher says.
        output_dir: the run directory that the command writes.
        env: its environment.
    """

    def __init__(self, folder: Path, output_dir: Path, env: Mapping[str, str]) -> None:
        self.folder, self.path, self.env = folder, output_dir, dict(env)
        self._errors = folder / "stderr"

    def run_line(self, line: Sequence[str]) -> None:
        """Start a command line."""
        with self._errors.open("wb") as err:
            self.process = subprocess.Popen(
                line,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
            )

    def stderr(self) -> str:
        """What the launcher and the ranks have told the user so far."""
        return self._errors.read_text("utf-8")

    def wait_for_checkpoint(self) -> bool:
        """Until one more is there; False when the run came to its end."""
        before = self._newest()
        self._wait(lambda: self._newest() > before or self.process.poll() is not None)
        return self.process.poll() is None

    def wait_for(self, text: str) -> None:
        """Until the user was told `text`."""
        self._wait(lambda: text in self.stderr() or self.process.poll() is not None)
        assert text in self.stderr(), self.stderr()

    def _wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not done():
            assert time.monotonic() < deadline, self.stderr()
            time.sleep(0.01)

    def _newest(self) -> str:
        found = (self.path / "checkpoints").glob("step-*")
        return max((path.name for path in found), default="")

    def finish(self) -> Run:
        """Wait for the end."""
        code = self.process.wait(LIMIT_SECONDS)
        return Run(self.path, code, "", self.stderr())


class RunOnHosts(WatchedRun):
    """A trainer's command under `hvdcore launch`, on hosts of a test; see `WatchedRun`.

    Args:
        folder: also holds what the discovery script prints.
        command: the trainer's.
    """

    def __init__(
        self,
        network: TestNetwork,
        folder: Path,
        output_dir: Path,
        command: Sequence[str],
        env: Mapping[str, str],
    ) -> None:
        super().__init__(folder, output_dir, {**env, "PATH": network.path})
        self.network, self.command = network, list(command)
        self._listed = folder / "listed"
        self.script = folder / "discover"
        self.script.write_text(f"#!/bin/sh\ncat '{self._listed}'\n", encoding="utf-8")
        self.script.chmod(0o755)

    def list_hosts(self, *names: str) -> None:
        """What the discovery script prints from now on, with one slot each."""
        new = self._listed.with_suffix(".new")
        new.write_text("".join(f"{name}:1\n" for name in names), encoding="utf-8")
        new.rename(self._listed)

    def start(self, host: TestHost, *options: str) -> None:
        """Start on a host, with these options of `hvdcore launch`."""
        launch = [sys.executable, "-m", "hvdcore", "launch", *options]
        self.run_line([*host.inside(self.folder), *launch, *self.command])

    def ask_to_stop(self, host: TestHost) -> None:
        """SIGTERM to the supervisors on a host, as from a machine that is taken back."""
        for pid in host.processes("hvdcore.launch.supervisor.rank_argv"):
            os.kill(pid, signal.SIGTERM)
