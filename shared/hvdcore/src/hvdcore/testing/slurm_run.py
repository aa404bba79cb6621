"""Owns trainings in tests that run as Slurm's jobs, by the script that `hvdcore slurm` writes."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from hvdcore.testing.runs import Run, run_command
from hvdcore.testing.slurm import TestCluster

__all__ = ["SlurmRun"]

_WRITE_SECONDS = 60.0


class SlurmRun:
    """A trainer's command as a job.

    Args:
        folder: in which the job runs; takes what it prints.
        output_dir: the run directory that the command writes.
        command: the trainer's.
        env: its environment.
    """

    def __init__(
        self,
        cluster: TestCluster,
        folder: Path,
        output_dir: Path,
        command: Sequence[str],
        env: Mapping[str, str],
    ) -> None:
        self.cluster, self.folder, self.path = cluster, folder, output_dir
        self.command, self.env = list(command), env

    def write_script(self, *options: str) -> Path:
        """The script, with these options of `hvdcore slurm`."""
        script = self.folder / "job.sh"
        slurm = [sys.executable, "-m", "hvdcore", "slurm", "--output", str(script), *options]
        run_command(self.path, [*slurm, "--", *self.command], self.env, _WRITE_SECONDS).check()
        return script

    def submit(self, *words: str) -> str:
        """The number of a new job, of these options of sbatch and this script."""
        return self.cluster.submit(*words, env=self.env, where=self.folder)

    def wait_for_checkpoint(self, number: str) -> None:
        """Until a job has saved one."""
        found = (self.path / "checkpoints").glob
        self.cluster.wait_until(number, lambda: any(found("step-*")))

    def signal_ranks(self, number: signal.Signals) -> None:
        """Stop the ranks where they are, or let them go on: a job then lasts as long as wanted."""
        for process in self._ranks():
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)

    def wait_for_order(self, number: str) -> None:
        """Until ranks that stand still have been told to save and stop."""

        def is_told() -> bool:
            with contextlib.suppress(OSError):  # a process that has just ended
                return any(map(_is_told_to_stop, self._ranks()))
            return False

        self.cluster.wait_until(number, is_told)

    def _ranks(self) -> list[psutil.Process]:
        start = ["-m", self.command[0].replace("-", "_"), *self.command[1:2]]
        found = []
        for host in self.cluster.network.hosts.values():
            for process in psutil.Process(host.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if process.cmdline()[1:4] == start:
                        found.append(process)
        return found

    def said(self, number: str) -> str:
        """What a job has printed so far, over all its restarts."""
        return (self.folder / f"slurm-{number}.out").read_text("utf-8")

    def finish(self, number: str, restarts: int = 0) -> Run:
        """Wait for a job's good end."""
        end = self.cluster.wait_for(number, "COMPLETED", restarts)
        return Run(self.path, int(end["ExitCode"].split(":")[0]), "", self.said(number))

    def finish_restarted(self, number: str) -> Run:
        """Let a job that has stood still save and be queued again, and wait for its good end."""
        self.signal_ranks(signal.SIGCONT)
        self.cluster.wait_for(number, "PENDING", restarts=1)
        assert not (self.path / "report.json").exists()
        self.cluster.start_soon(number)
        run = self.finish(number, restarts=1)
        assert len(re.findall(r"going on from step (\d+) ", run.stderr)) == 1, run.stderr
        return run


def _is_told_to_stop(process: psutil.Process) -> bool:
    """Whether SIGTERM waits for a process that stands still (man proc_pid_status)."""
    status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
    waiting = [line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:")]
    return bool(int(waiting[0], 16) >> (signal.SIGTERM - 1) & 1)
