"""Owns the work on one request that any number of processes share, and go on with after a kill.

Every process runs through the same stages. A stage has numbered tasks; a process takes a task that
nobody has by the kernel's lock on its file, which a death in any way gives back, and leaves the
result in a file that appears complete. So there is nothing to agree on: ranks of one job, hosts
with a common disk and strangers on the same cache all help each other.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.atomic import write_bytes_atomically, writing
from textgen.data.work_folder import WorkFolder, lock_file

__all__ = ["ELSEWHERE", "SharedWork", "Tell"]

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
