"""Owns stopping runs in tests, at random or in good order, and comparing what goes on then."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from hvdcore.testing.runs import Run

__all__ = ["StoppedRun", "rank_pids"]


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
    return [p.pid for p in family if "HVDCORE_SUPERVISED" in p.environ()]
