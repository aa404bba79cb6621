"""Owns the work on one request that any number of processes share, and go on with after a kill.

Every process runs through the same stages. A stage has numbered tasks; a process takes a task that
nobody has by the kernel's lock on its file, which a death in any way gives back, and leaves the
result in a file that appears complete. So there is nothing to agree on: ranks of one job, hosts
with a common disk and strangers on the same cache all help each other.

Owns the folder of one request's unfinished work: who is in it, when it goes, when it stays.

It goes when the work is done or the input is wrong, with the last process that leaves. A kill, or a
source that failed for now, leaves it for the next run; after a week without one it goes too.
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
from hvdcore.files.atomic import write_bytes_atomically, writing

__all__ = [
    "ELSEWHERE",
    "POLL_SECONDS",
    "SharedWork",
    "SourceFailed",
    "Tell",
    "WorkFolder",
    "lock_file",
    "remove_work",
]

POLL_SECONDS = 0.1

_LEAVING_SECONDS = 10.0  # for the others to see that one has failed
_ABANDONED_SECONDS = 7 * 24 * 3600.0


class SourceFailed(UserError):
    """The source may answer later; what was read of it is kept for the next run."""


class WorkFolder:
    """Entered by every process that helps with a request, which the kernel's shared lock tells.

    Args:
        cache: the folder is in its `work`.
        request: digest of what is asked for.
        on_wait: called again and again while this process waits for others.

    Attributes:
        path: the folder.
    """

    def __init__(self, cache: Path, request: str, on_wait: Callable[[], None]) -> None:
        self.path = cache / "work" / request[:32]
        self._failed = self.path / "failed.json"
        self._lock_path = self.path.with_suffix(".lock")
        self._on_wait = on_wait
        self._lock: IO[bytes] | None = None
        self._looked_at = 0.0

    def __enter__(self) -> WorkFolder:
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._lock_path.open("ab")
        try:
            if lock_file(self._lock, fcntl.LOCK_EX):  # nobody else is at it
                self._clean_up_after_the_dead()
            while not lock_file(self._lock, fcntl.LOCK_SH):  # somebody removes the folder just now
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
        # The lock's file stays: removing it would let two processes hold "the" lock.
        self._lock.close()

    def wait(self) -> None:
        """Wait a moment for others.

        Raises:
            UserError: one of them has failed.
        """
        self.check_others()
        self._on_wait()
        time.sleep(POLL_SECONDS)

    def fail(self, error: UserError) -> None:
        """Let the others fail by the same error."""
        told = {"problems": error.problems, "again": isinstance(error, SourceFailed)}
        with suppress(OSError, UserError):  # a full disk has no room for it
            write_bytes_atomically(self._failed, json.dumps(told).encode())

    def check_others(self, *, at_once: bool = False) -> None:
        """Look whether one has failed, if the last look was a while ago or if it must be now.

        Raises:
            UserError: that one's.
        """
        if not at_once and time.monotonic() - self._looked_at < POLL_SECONDS:
            return
        self._looked_at = time.monotonic()
        told = self._failure()
        if told is not None:
            raise (SourceFailed if told["again"] else UserError)(*told["problems"])

    def _failure(self) -> dict[str, Any] | None:
        with suppress(OSError, ValueError):
            told: dict[str, Any] = json.loads(self._failed.read_text(encoding="utf-8"))
            return told
        return None

    def _clean_up_after_the_dead(self) -> None:
        told = self._failure()
        if told is not None and told["again"]:
            self._failed.unlink()
        elif told is not None:
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
                return  # who still works will be the last
            self._on_wait()
            time.sleep(POLL_SECONDS)
        shutil.rmtree(self.path, ignore_errors=True)


def remove_work(cache: Path, request: str) -> None:
    """Remove what a killed process left of a request, unless somebody is at it."""
    _remove_unused(cache / "work" / f"{request[:32]}.lock")


def lock_file(file: IO[bytes], how: int) -> bool:
    """Take the kernel's lock LOCK_EX or LOCK_SH on an open file, if it can be had now."""
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


ELSEWHERE = "point TEXTGEN_CACHE to another place"
"""What a user does about a cache that cannot be written."""

Tell = Callable[[int], None]
"""Called with the bytes of text done since the last call."""


class SharedWork(WorkFolder):
    """The stages of one request's work, in its folder.

    Args:
        progress: called as progress(stage, done, total), in bytes of text; "wait" while others
            have all the tasks that are left.
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
        """A stage of a single task: the result that one process's `task` returned, for all."""
        return self.each(stage, [0], lambda _, place, tell: task(place), quiet=True)[0]

    def each(
        self,
        stage: str,
        sizes: Sequence[int],
        task: Callable[[int, Path, Tell], dict[str, Any]],
        *,
        quiet: bool = False,
    ) -> list[dict[str, Any]]:
        """The results of all tasks of a stage, made by this process and the others.

        Args:
            sizes: bytes of text of each task.
            task: called as task(number, place, tell); writes files whose names start with
                `place`, and returns what is to be known of them, in JSON's types.
            quiet: leave progress to the task.

        Raises:
            UserError: the task's own, here or in another process.
        """
        (self.path / stage).mkdir(exist_ok=True)
        results: dict[int, dict[str, Any]] = {}
        pending = list(range(len(sizes)))
        total = sum(sizes)
        finished = under_way = 0

        def tell(more: int) -> None:
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
                    found = self._try(stage, number, task, tell)
                if found is not None:
                    results[number] = found
                    finished, under_way = finished + (sizes[number] or under_way), 0
                    tell(0)
            left = [number for number in pending if number not in results]
            if len(left) == len(pending):
                self.wait()
            pending = left
        return [results[number] for number in range(len(sizes))]

    def place(self, stage: str, number: int) -> Path:
        """What the names of a task's files start with."""
        return self.path / stage / f"{number:06}"

    def _result(self, stage: str, number: int) -> dict[str, Any] | None:
        path = self.place(stage, number).with_suffix(".done")
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    def _try(
        self, stage: str, number: int, task: Callable[..., dict[str, Any]], tell: Tell
    ) -> dict[str, Any] | None:
        """The result of a task that nobody else has; None where somebody has."""
        place = self.place(stage, number)
        with place.with_suffix(".lock").open("ab") as lock:
            if not lock_file(lock, fcntl.LOCK_EX):
                return None
            found = self._result(stage, number)
            if found is None:
                self.check_others(at_once=True)
                found = self._do(place, lambda: task(number, place, tell))
            return found

    def _do(self, place: Path, task: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            with writing(self._cache, ELSEWHERE):
                result = task()
                text = json.dumps(result, ensure_ascii=False)
                write_bytes_atomically(place.with_suffix(".done"), text.encode())
        except UserError as error:
            self.fail(error)
            raise
        return result
