"""Owns trainings in tests whose hosts come and go: started on one of them, watched, disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hvdcore.testing_hosts import TestHost, TestNetwork
from hvdcore.testing_runs import Run

__all__ = ["RunOnHosts"]

LIMIT_SECONDS = 900.0


class RunOnHosts:
    """A trainer's command under `hvdcore launch`, on hosts of a test.

    Args:
        folder: of the test; holds what the launcher says and what the discovery script prints.
        output_dir: the run directory that the command writes.
        command: the trainer's.
        env: its environment.
    """

    def __init__(
        self,
        network: TestNetwork,
        folder: Path,
        output_dir: Path,
        command: Sequence[str],
        env: Mapping[str, str],
    ) -> None:
        self.network, self.folder, self.path = network, folder, output_dir
        self.command = list(command)
        self.env = {**env, "PATH": network.path}
        self._listed, self._errors = folder / "listed", folder / "stderr"
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
        with self._errors.open("wb") as err:
            self.process = subprocess.Popen(
                [*host.inside(self.folder), *launch, *self.command],
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

    def ask_to_stop(self, host: TestHost) -> None:
        """SIGTERM to the supervisors on a host, as from a machine that is taken back."""
        for pid in host.processes("hvdcore.rank_argv"):
            os.kill(pid, signal.SIGTERM)

    def finish(self) -> Run:
        """Wait for the end."""
        code = self.process.wait(LIMIT_SECONDS)
        return Run(self.path, code, "", self.stderr())
