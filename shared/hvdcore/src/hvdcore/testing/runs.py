"""Real training runs in tests: a command, its exit code, its files; stopped, resumed, disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from hvdcore.launch.job.horovodrun import clean_environment
from hvdcore.runtime.environment import SUPERVISED
from hvdcore.testing.hosts import TestHost, TestNetwork

__all__ = [
    "Run",
    "RunOnHosts",
    "StoppedRun",
    "WatchedRun",
    "rank_pids",
    "ranks_environment",
    "run_command",
]


@dataclass(frozen=True)
class Run:
    """A finished command and its run directory."""

    path: Path
    returncode: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        """What report.json holds."""
        values: dict[str, Any] = json.loads((self.path / "report.json").read_text("utf-8"))
        return values

    def values(self, split: str, name: str) -> dict[int, float]:
        """One value by step, from metrics.jsonl."""
        lines = (self.path / "metrics.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return {row["step"]: row[name] for row in rows if row["split"] == split}

    def losses(self, split: str) -> dict[int, float]:
        """Loss by step."""
        return self.values(split, "loss")

    def check(self) -> Run:
        """Itself, when the command ended well; else an error with all that it printed."""
        assert self.returncode == 0, f"exit {self.returncode}\n{self.stdout}\n{self.stderr}"
        return self


def ranks_environment(own: Mapping[str, str]) -> dict[str, str]:
    """This process's, as the launcher cleans it, with one thread, for the cores are shared.

    Args:
        own: variables that the test sets.
    """
    return {**clean_environment(os.environ), "OMP_NUM_THREADS": "1", **own}


def run_command(
    output_dir: Path, line: Sequence[str], env: Mapping[str, str], timeout: float
) -> Run:
    """Run a command line to its end.

    Args:
        output_dir: the run directory that it writes.
        timeout: seconds after which the test fails.
    """
    ended = subprocess.run(
        line, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip
    return Run(output_dir, ended.returncode, ended.stdout, ended.stderr)


@dataclass(frozen=True)
class StoppedRun:
    """A run that is started, stopped and taken up again.

    Attributes:
        path: of its directory.
        line: the command, which goes on where there is a checkpoint.
        env: its environment.
        pause: seconds at most from a checkpoint to a kill, so that steps lie between.
        timeout: seconds after which the test fails.
    """

    path: Path
    line: Sequence[str]
    env: Mapping[str, str]
    pause: float = 0.05
    timeout: float = 900.0

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """Start it, or go on with it."""
        return subprocess.Popen(
            [*self.line, *flags],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def checkpoints(self, pattern: str = "step-*") -> set[str]:
        """The names of those that are there."""
        return {path.name for path in (self.path / "checkpoints").glob(pattern)}

    def wait_for(self, pattern: str, process: subprocess.Popen[str]) -> None:
        """Until a checkpoint appears that was not there, or the run ends."""
        before = self.checkpoints(pattern)
        while process.poll() is None and not self.checkpoints(pattern) - before:
            time.sleep(0.001)

    def kill_at_random(self, draw: random.Random, *flags: str) -> bool:
        """Start or go on, and SIGKILL one rank at a random moment, or while a checkpoint is
        written.

        Returns:
            Whether the kill came before the run's end.
        """
        process = self.start(*flags)
        self.wait_for("step-*", process)
        if draw.random() < 0.5:
            self.wait_for(".writing-*", process)
        else:
            time.sleep(draw.uniform(0.0, self.pause))
        for pid in draw.sample(pids := rank_pids(process), k=min(1, len(pids))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _, stderr = process.communicate(timeout=self.timeout)
        assert process.returncode in (0, 1), stderr
        if process.returncode == 1:
            assert "killed by SIGKILL" in stderr
        return process.returncode == 1

    def terminate_after_a_checkpoint(self, *flags: str) -> None:
        """Start, and ask to stop in good order as soon as there is a checkpoint."""
        process = self.start(*flags)
        self.wait_for("step-*", process)
        process.terminate()
        _, stderr = process.communicate(timeout=self.timeout)
        assert process.returncode == 143, stderr

    def finish(self, *flags: str) -> Run:
        """Go on to the end."""
        process = self.start(*flags)
        _, stderr = process.communicate(timeout=self.timeout)
        return Run(self.path, process.returncode, "", stderr).check()

    def finish_as(self, undisturbed: Run, *flags: str) -> None:
        """Go on to the end: weights and curves equal the undisturbed run's, to the bit."""
        resumed = self.finish(*flags)
        assert resumed.report["weights_sha256"] == undisturbed.report["weights_sha256"]
        assert resumed.losses("train") == undisturbed.losses("train")
        assert resumed.losses("val") == undisturbed.losses("val")


def rank_pids(launcher: subprocess.Popen[str]) -> list[int]:
    """The ranks' processes below a launcher."""
    family = psutil.Process(launcher.pid).children(recursive=True)
    return [p.pid for p in family if SUPERVISED in p.environ()]


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
        for pid in host.processes("hvdcore.launch.supervisor.supervise"):
            os.kill(pid, signal.SIGTERM)
