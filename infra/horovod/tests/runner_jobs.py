"""Jobs under the real horovodrun, and what can be seen of their processes from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PROGRAMS = Path(__file__).parent / "programs"
_FOREIGN = ("HOROVOD_", "OMPI_", "PMI", "PMIX_", "HYDRA_", "PRTE_", "SLURM_")
_ROOT_MAY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
TIMEOUT = 240

# Stands in for ssh where there is no second host. Like sshd it hands the words to a shell as one
# line, brings standard input, and passes on neither our environment nor signals.
_SSH = """#!{python}
import os, subprocess, sys
words, host = sys.argv[1:], None
while True:
    if words[0].startswith("-"):
        words = words[2:]
    elif host is None:
        host = words.pop(0)
    else:
        break
env = {{"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "AT_HOST": host}}
sys.exit(subprocess.run(["/bin/sh", "-c", " ".join(words)], env=env, start_new_session=True)
         .returncode % 256)
"""


def horovodrun(*words: str | Path) -> list[str]:
    """The command line of horovodrun of this Python."""
    return [sys.executable, "-m", "horovod.runner.launch", *map(str, words)]


def program(name: str, *words: object) -> list[str]:
    """The command line of a program of these tests."""
    return [sys.executable, str(PROGRAMS / name), *map(str, words)]


def has_mpirun() -> bool:
    """Whether jobs over MPI can be started."""
    return shutil.which("mpirun") is not None


def environment(**more: str) -> dict[str, str]:
    """Our environment without what launchers have said, and with `more`."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    kept = {k: v for k, v in os.environ.items() if k in ("HOROVOD_LIBRARY", "HOROVOD_MPI_LIBRARY")}
    return {**env, **kept, **_ROOT_MAY, "OMP_NUM_THREADS": "1", **more}


def with_ssh(folder: Path, **more: str) -> dict[str, str]:
    """An environment whose `ssh` reaches hosts that are none, as `worker-a`."""
    folder.mkdir(exist_ok=True)
    path = folder / "ssh"
    path.write_text(_SSH.format(python=sys.executable))
    path.chmod(0o755)
    return environment(PATH=f"{folder}{os.pathsep}{os.environ['PATH']}", **more)


def run(
    command: list[str], env: Mapping[str, str] | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    """Runs a job to its end."""
    return subprocess.run(
        command,
        env=environment() if env is None else env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        **options,  # type: ignore[call-overload]
    )


@contextmanager
def running(
    command: list[str], env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A job while it runs; its processes are ended afterwards, whatever happened."""
    process = subprocess.Popen(
        command,
        env=environment() if env is None else env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen: list[psutil.Process] = []
    try:
        yield process
        seen = tree(process.pid)
    finally:
        for other in seen or tree(process.pid):
            with suppress(psutil.NoSuchProcess):
                other.kill()
        process.kill()
        process.wait(timeout=TIMEOUT)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that it has started, in their order."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition; fails when it does not come true."""
    deadline = time.monotonic() + TIMEOUT / 2
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.05)


class CommandLines:
    """All command lines of a job from its start to its end, also of processes that live shortly."""

    def __init__(self, pid: int) -> None:
        self.seen: set[str] = set()
        self._pid = pid
        self._is_over = False
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over:
            for process in tree(self._pid):
                with suppress(psutil.Error):
                    self.seen.add(" ".join(process.cmdline()))
            time.sleep(0.002)

    def holding(self, text: str) -> list[str]:
        """The command lines in which a text stands."""
        return [line for line in self.seen if text in line]
