"""Jobs that all stay up while one at a time is told to measure.

Starting ranks takes seconds and machines drift over minutes. So every job starts once and runs a
short burst whenever its turn comes round: what disturbs the machine disturbs all, and a ratio is
taken within one round. Between its turns a job is stopped by a signal: a framework's threads wake
hundreds of times a second even when there is nothing to do, which slows those most who use all
cores.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import psutil

ADDRESS = "HVD_BENCH_ADDRESS"
JOB = "HVD_BENCH_JOB"
START_SECONDS = 180.0
BURST_SECONDS = 300.0
END_SECONDS = 60.0


@dataclass
class Job:
    """A command whose processes each call `serve`."""

    name: str
    command: Sequence[str]
    size: int
    env: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    lines: list[TextIO] = field(default_factory=list)

    def run(self, **burst: Any) -> list[dict[str, Any]]:
        """Let every process of the job do `burst`; their answers, in no order."""
        self.wake()
        for line in self.lines:
            print(json.dumps(burst), file=line, flush=True)
        answers = [line.readline() for line in self.lines]
        self.sleep()
        if not all(answers):
            raise RuntimeError(f"{self.name}: a process ended; its output is above")
        return [json.loads(answer) for answer in answers]

    def sleep(self) -> None:
        """Stop all its processes until `wake`."""
        self._each(psutil.Process.suspend)

    def wake(self) -> None:
        self._each(psutil.Process.resume)

    def _each(self, do: Callable[[psutil.Process], None]) -> None:
        if self.process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            for process in (parent, *parent.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    do(process)

    def stop(self) -> None:
        """Let the job end by itself, else end it."""
        self.wake()
        for line in self.lines:
            line.close()
        if self.process is None:
            return
        for end in (lambda: None, self.process.terminate, self.process.kill):
            end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
                return


class Jobs:
    """All jobs of a measurement, started together: `with Jobs([...]) as jobs: jobs["a"].run()`.

    Their processes connect through a Unix socket, which works from every network namespace.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._folder = tempfile.TemporaryDirectory()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(Path(self._folder.name, "jobs")))
        self._server.listen(64)

    def __getitem__(self, name: str) -> Job:
        return self._jobs[name]

    def __enter__(self) -> Jobs:
        try:
            for job in self._jobs.values():
                self._start(job)
            self._server.settimeout(START_SECONDS)
            for _ in range(sum(job.size for job in self._jobs.values())):
                connection, _ = self._server.accept()
                connection.settimeout(BURST_SECONDS)
                line = connection.makefile("rw", encoding="utf-8")
                self[line.readline().strip()].lines.append(line)
            for job in self._jobs.values():
                job.sleep()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for job in self._jobs.values():
            job.stop()
        self._server.close()
        self._folder.cleanup()

    def _start(self, job: Job) -> None:
        env = {**job.env, ADDRESS: self._server.getsockname(), JOB: job.name}
        # What ranks print goes to stderr: our stdout holds the results.
        job.process = subprocess.Popen(job.command, env=env, stdout=sys.stderr)


def serve(burst: Callable[..., dict[str, Any]]) -> None:
    """In a job's process: answer each command with `burst(**command)` until the parent hangs up."""
    for command, answer in commands():
        answer(burst(**command))


def commands() -> Iterator[tuple[dict[str, Any], Callable[[dict[str, Any]], None]]]:
    """The same for a process whose loop is another's: each command, and what to answer it with."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[ADDRESS])
        lines = connection.makefile("rw", encoding="utf-8")
        print(os.environ[JOB], file=lines, flush=True)

        def answer(found: dict[str, Any]) -> None:
            print(json.dumps(found), file=lines, flush=True)

        for command in lines:
            yield json.loads(command), answer


def ranks(script: Path, size: int, *args: str) -> list[str]:
    """The command that starts `size` Horovod ranks of a script, the way users do."""
    hvdcore = [sys.executable, "-m", "hvdcore", "launch", "--np", str(size)]
    return [*hvdcore, "--stall-timeout", "3600", sys.executable, str(script), *args]


def torch_ranks(script: Path, size: int, *args: str) -> list[str]:
    """The same by PyTorch's own launcher."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, f"--nproc-per-node={size}", str(script), *args]
