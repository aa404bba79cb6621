"""The work queue of one request, shared by any number of processes, that survives kills.

Every process runs through the same stages. A stage has numbered tasks; a process takes a free task
by a kernel lock on its file, which is released however the process ends, and leaves the result in
a file that appears complete. So nothing has to be agreed on: ranks of one job, hosts with a shared
disk and independent processes with the same cache all help each other.

The folder of a request is removed by the last process that leaves, when the work is done or the
input is wrong. A kill, or a source that failed temporarily, leaves it for the next run; after a
week without one it is removed too.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from hvdcore.errors import UserError
from hvdcore.files.atomic import make_folder, write_bytes_atomically, writing

__all__ = [
    "CACHE_HINT",
    "POLL_SECONDS",
    "Advance",
    "SharedWork",
    "SourceFailed",
    "WorkFolder",
    "lock_file",
    "remove_work",
]

CACHE_HINT = "set TEXTGEN_CACHE to another folder"
"""The fix for a cache that cannot be written."""

Advance = Callable[[int], None]
"""Called with the bytes of text processed since the last call."""

POLL_SECONDS = 0.1

_LEAVING_SECONDS = 10.0  # for the others to see that one has failed
_ABANDONED_SECONDS = 7 * 24 * 3600.0


class SourceFailed(UserError):
    """The source may be available again later; what was read is kept for the next run."""


class WorkFolder:
    """The folder of a request; every process that works on it holds a shared lock.

    Args:
        cache: the folder is in its `work`.
        request: digest of what is asked for.
        on_wait: called repeatedly while this process waits for others.

    Attributes:
        path: the folder.
    """

    def __init__(self, cache: Path, request: str, on_wait: Callable[[], None]) -> None:
        self.path = cache / "work" / request[:32]
        self._failed = self.path / "failed.json"
        self._lock_path = self.path.with_suffix(".lock")
        self._on_wait = on_wait
        self._lock: IO[bytes] | None = None
        self._checked_at = 0.0

    def __enter__(self) -> WorkFolder:
        make_folder(self._lock_path.parent, CACHE_HINT)
        self._lock = self._lock_path.open("ab")
        try:
            if lock_file(self._lock, fcntl.LOCK_EX):  # no other process works on it
                self._clean_up()
            while not lock_file(
                self._lock, fcntl.LOCK_SH
            ):  # another process is removing the folder
                self.wait()
            self.path.mkdir(exist_ok=True)
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._lock is not None
        wrong_input = isinstance(error, UserError) and not isinstance(error, SourceFailed)
        if error is None or wrong_input:
            self._remove_when_last(_LEAVING_SECONDS if wrong_input else 0.0)
        # The lock file stays: if it were removed, two processes could hold a lock of that name.
        self._lock.close()

    def wait(self) -> None:
        """Wait a moment for other processes.

        Raises:
            UserError: one of them has failed.
        """
        self.check_others()
        self._on_wait()
        time.sleep(POLL_SECONDS)

    def fail(self, error: UserError) -> None:
        """Make the other processes fail with the same error."""
        failure = {"problems": error.problems, "again": isinstance(error, SourceFailed)}
        with suppress(OSError, UserError):  # the disk may be full
            write_bytes_atomically(self._failed, json.dumps(failure).encode())

    def check_others(self, *, at_once: bool = False) -> None:
        """Check whether another process has failed, unless that was checked a moment ago.

        Args:
            at_once: check in any case.

        Raises:
            UserError: the error of that process.
        """
        if not at_once and time.monotonic() - self._checked_at < POLL_SECONDS:
            return
        self._checked_at = time.monotonic()
        failure = self._failure()
        if failure is not None:
            raise (SourceFailed if failure["again"] else UserError)(*failure["problems"])

    def _failure(self) -> dict[str, Any] | None:
        with suppress(OSError, ValueError):
            failure: dict[str, Any] = json.loads(self._failed.read_text(encoding="utf-8"))
            return failure
        return None

    def _clean_up(self) -> None:
        failure = self._failure()
        if failure is not None and failure["again"]:
            self._failed.unlink()
        elif failure is not None:
            shutil.rmtree(self.path)
        for lock_path in self._lock_path.parent.glob("*.lock"):
            if time.time() - lock_path.stat().st_mtime > _ABANDONED_SECONDS:
                _remove_unused(lock_path)
        self._lock_path.touch()

    def _remove_when_last(self, seconds: float) -> None:
        assert self._lock is not None
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        deadline = time.monotonic() + seconds
        while not lock_file(self._lock, fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                return  # another process will be the last
            self._on_wait()
            time.sleep(POLL_SECONDS)
        shutil.rmtree(self.path, ignore_errors=True)


def remove_work(cache: Path, request: str) -> None:
    """Remove the folder that a killed process left, unless another process works on it."""
    _remove_unused(cache / "work" / f"{request[:32]}.lock")


def lock_file(file: IO[bytes], how: int) -> bool:
    """Try to take the kernel's lock LOCK_EX or LOCK_SH on an open file, without waiting."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_unused(lock_path: Path) -> None:
    folder = lock_path.with_suffix("")
    if not folder.exists():
        return
    with suppress(OSError), lock_path.open("ab") as lock:
        if lock_file(lock, fcntl.LOCK_EX):
            shutil.rmtree(folder, ignore_errors=True)


class SharedWork(WorkFolder):
    """The stages of a request, worked on by all processes that share its folder.

    Args:
        progress: called as progress(stage, done, total), in bytes of text; stage "wait" while other
            processes have all remaining tasks.
    """

    def __init__(
        self, cache: Path, request: str, progress: Callable[[str, int, int], None]
    ) -> None:
        super().__init__(cache, request, lambda: progress("wait", 0, 0))
        self._cache = cache
        self._progress = progress

    def __enter__(self) -> SharedWork:
        super().__enter__()
        return self

    def once(self, stage: str, task: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """A stage with one task, called as task(prefix): its result, in every process."""
        return self.each(stage, [0], lambda _, prefix, advance: task(prefix), quiet=True)[0]

    def each(
        self,
        stage: str,
        sizes: Sequence[int],
        task: Callable[[int, Path, Advance], dict[str, Any]],
        *,
        quiet: bool = False,
    ) -> list[dict[str, Any]]:
        """The results of all tasks of a stage, from this process and the others.

        Args:
            sizes: bytes of text of each task.
            task: called as task(number, prefix, advance); writes files whose names start with
                `prefix`, and returns a result of JSON's types.
            quiet: the task reports progress itself.

        Raises:
            UserError: the error of a task, here or in another process.
        """
        (self.path / stage).mkdir(exist_ok=True)
        results: dict[int, dict[str, Any]] = {}
        pending = list(range(len(sizes)))
        total = sum(sizes)
        finished = under_way = 0

        def advance(more: int) -> None:
            nonlocal under_way
            under_way += more
            self.check_others()
            if not quiet:
                done = finished + under_way
                self._progress(stage, min(done, total) if total else done, total)

        while pending:
            for number in pending:
                under_way = 0
                found = self._result(stage, number)
                if found is None:
                    found = self._try(stage, number, task, advance)
                if found is not None:
                    results[number] = found
                    finished, under_way = finished + (sizes[number] or under_way), 0
                    advance(0)
            left = [number for number in pending if number not in results]
            if len(left) == len(pending):
                self.wait()
            pending = left
        return [results[number] for number in range(len(sizes))]

    def prefix(self, stage: str, number: int) -> Path:
        """What the names of the files of a task start with."""
        return self.path / stage / f"{number:06}"

    def _result(self, stage: str, number: int) -> dict[str, Any] | None:
        path = self.prefix(stage, number).with_suffix(".done")
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    def _try(
        self, stage: str, number: int, task: Callable[..., dict[str, Any]], advance: Advance
    ) -> dict[str, Any] | None:
        """Run a task and return its result; None if another process is running it."""
        prefix = self.prefix(stage, number)
        with prefix.with_suffix(".lock").open("ab") as lock:
            if not lock_file(lock, fcntl.LOCK_EX):
                return None
            found = self._result(stage, number)
            if found is None:
                self.check_others(at_once=True)
                found = self._do(prefix, lambda: task(number, prefix, advance))
            return found

    def _do(self, prefix: Path, task: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            with writing(self._cache, CACHE_HINT):
                result = task()
                text = json.dumps(result, ensure_ascii=False)
                write_bytes_atomically(
                    prefix.with_suffix(".done"), text.encode("utf-8", "backslashreplace")
                )
        except UserError as error:
            self.fail(error)
            raise
        return result
