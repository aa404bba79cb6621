"""Real ranks in tests: a script under a real launcher, its results and leftover processes."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hvdcore.launch.job.controllers import find_program
from hvdcore.launch.job.horovodrun import clean_environment
from hvdcore.launch.supervisor.processes import find_orphans, kill_orphans
from hvdcore.runtime.environment import LOG_DIR, STALL_TIMEOUT

__all__ = ["RESULT_DIR", "TEST_MARKER", "RanksResult", "orphans", "run_ranks", "save_result"]

Launcher = Literal["hvdcore", "horovodrun", "mpirun"]
TEST_MARKER = "HVD_TEST_MARKER"
RESULT_DIR = "HVD_TEST_RESULTS"
_ORPHAN_SECONDS = 20.0


@dataclass(frozen=True)
class RanksResult:
    """What a job left: exit code, console output, each rank's result and log, by rank.

    `orphans` are processes of the job that were alive after it had ended (they are ended now).
    """

    returncode: int
    stdout: str
    stderr: str
    results: dict[int, Any] = field(default_factory=dict)
    logs: dict[int, str] = field(default_factory=dict)
    orphans: tuple[int, ...] = ()
    seconds: float = 0.0

    def check(self) -> RanksResult:
        """Itself when the job ended with 0 and left nothing; else an error with all the output."""
        assert self.returncode == 0, f"exit {self.returncode}\n{self.stdout}\n{self.stderr}"
        assert not self.orphans, self.orphans
        return self


def save_result(value: Any) -> None:
    """In a rank's script: keep a JSON value for `RanksResult.results[rank]`."""
    from hvdcore.runtime.world import world_from_environment

    path = Path(os.environ[RESULT_DIR]) / f"rank-{world_from_environment().rank}.json"
    path.write_text(json.dumps(value), encoding="utf-8")


def run_ranks(
    script: str | Sequence[str],
    np: int,
    *,
    folder: Path,
    controller: Literal["auto", "mpi", "gloo"] = "auto",
    launcher: Launcher = "hvdcore",
    hosts: str | None = None,
    timeout: float = 300.0,
    stall_timeout: float = 120.0,
    env: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
) -> RanksResult:
    """Run Python source text, or a command, on `np` real ranks, and wait for its end.

    Args:
        script: source text of a script (a str), or program and arguments (a sequence).
        np: number of ranks.
        folder: an empty directory (`tmp_path`) for the script, results and logs.
        controller: 'auto', 'mpi' or 'gloo'; mpirun always means MPI.
        launcher: 'hvdcore' (`hvdcore launch`), or plain 'horovodrun' or 'mpirun'.
        hosts: `name:slots,name:slots` for 'hvdcore'; None means this machine.
        timeout: seconds after which the job counts as hung and is killed.
        stall_timeout: seconds for the watchdog.
        env: variables on top of this process's.
        within: what to put before the command line, such as `TestHost.inside`.

    Raises:
        AssertionError: the job did not end within `timeout`.
    """
    command = list(script) if not isinstance(script, str) else _write(script, folder)
    started = start_ranks(
        command,
        np,
        folder=folder,
        controller=controller,
        launcher=launcher,
        hosts=hosts,
        stall_timeout=stall_timeout,
        env=env,
        within=within,
    )
    return started.wait(timeout)


def _write(source: str, folder: Path) -> list[str]:
    path = folder / "ranks_script.py"
    path.write_text(source, encoding="utf-8")
    return [sys.executable, str(path)]


@dataclass
class StartedRanks:
    """A job that runs. `marker` is in the environment of each of its processes."""

    process: subprocess.Popen[bytes]
    marker: str
    folder: Path
    started_at: float

    def wait(self, timeout: float) -> RanksResult:
        """Wait for the end and collect what is left; see `run_ranks`."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"the job did not end within {timeout:g} s\n{self.read('stdout')}"
                f"\n{self.read('stderr')}\n{_logs(self.folder)}"
            ) from None
        finally:
            seconds = time.monotonic() - self.started_at
            left = orphans(self.marker)
            kill_orphans(TEST_MARKER, self.marker)
            self.process.wait()
        files = (self.folder / "results").glob("rank-*.json")
        results = {_rank(p): json.loads(p.read_text(encoding="utf-8")) for p in files}
        return RanksResult(
            self.process.returncode,
            self.read("stdout"),
            self.read("stderr"),
            results,
            _logs(self.folder),
            left,
            seconds,
        )

    def read(self, stream: str) -> str:
        """What the job has written to 'stdout' or 'stderr' so far."""
        return (self.folder / stream).read_text(encoding="utf-8", errors="replace")


def start_ranks(
    command: Sequence[str],
    np: int,
    *,
    folder: Path,
    controller: Literal["auto", "mpi", "gloo"] = "auto",
    launcher: Launcher = "hvdcore",
    hosts: str | None = None,
    stall_timeout: float = 120.0,
    env: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
) -> StartedRanks:
    """Start a job as `run_ranks` does, and return while it runs."""
    marker = secrets.token_hex(8)
    (folder / "results").mkdir(exist_ok=True)
    variables = {
        TEST_MARKER: marker,
        RESULT_DIR: str(folder / "results"),
        STALL_TIMEOUT: f"{stall_timeout:g}",
        LOG_DIR: str(folder / "logs"),
    }
    full_env = {**clean_environment(os.environ), **variables, **(env or {})}
    line = [*within, *_launcher(launcher, np, controller, hosts, stall_timeout, folder), *command]
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            line,
            env=full_env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    return StartedRanks(process, marker, folder, time.monotonic())


def _launcher(
    launcher: Launcher,
    np: int,
    controller: str,
    hosts: str | None,
    stall_timeout: float,
    folder: Path,
) -> list[str]:
    if launcher == "hvdcore":
        options = ["--controller", controller, "--stall-timeout", f"{stall_timeout:g}"]
        options += ["--log-dir", str(folder / "logs")]
        options += ["--hosts", hosts] if hosts else []
        module = [sys.executable, "-m", "hvdcore", "launch"]
        return [*module, "--np", str(np), *options]
    program = str(find_program(launcher) or launcher)
    if launcher == "mpirun":
        return [program, "-np", str(np), "--oversubscribe"]
    return [program, "-np", str(np), *([] if controller == "auto" else [f"--{controller}"])]


def _rank(path: Path) -> int:
    return int(path.stem.removeprefix("rank-"))


def _logs(folder: Path) -> dict[int, str]:
    return {
        _rank(p): p.read_text(encoding="utf-8", errors="replace")
        for p in (folder / "logs").glob("rank-*.log")
    }


def orphans(marker: str, within: float = _ORPHAN_SECONDS) -> tuple[int, ...]:
    """Process ids with `HVD_TEST_MARKER=marker` that are still alive `within` seconds on."""
    deadline = time.monotonic() + within
    while (left := find_orphans(TEST_MARKER, marker)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return tuple(left)
