"""Checkpoints written behind the next steps of a training.

A step waits only until its state is copied to memory. Rank 0 then writes the copy in a thread, in
the same way as `save`: under a temporary name, sealed by a manifest, and renamed. One checkpoint
is written at a time; the next one waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any

from hvdcore.errors import UserError
from hvdcore.run.checkpoint.mirror import Mirror
from hvdcore.run.checkpoint.store import Checkpoint, newest_first, save
from hvdcore.runtime.heartbeat import beat
from hvdcore.tracking.logs import get_logger

__all__ = ["CheckpointWriter"]

_logger = get_logger(__name__)
WAIT_SECONDS = 1.0
"""Between two looks at whether a write that is waited for still makes progress."""


class CheckpointWriter:
    """Writes the checkpoints of a run. Every rank makes one; rank 0 writes.

    Ranks agree in `begin`, `raise_failure` and `finish`, which every rank must call, in the main
    thread; the writing thread calls no collective. An error of the thread is kept until then. As
    a context manager it waits at the end for what is being written, whatever ended the block.

    Args:
        directory: the run's `checkpoints/`.
        keep: how many of the newest checkpoints to keep, beside the best.
        in_background: False to have each `save` return when its checkpoint is complete.
        mirror: where each checkpoint is copied to as well; on rank 0.
        is_root: whether this rank is the one that writes.
        broadcast: gives every rank rank 0's value (the adapter's `broadcast_object`).
    """

    def __init__(
        self,
        directory: Path,
        *,
        keep: int = 2,
        in_background: bool = True,
        mirror: Mirror | None = None,
        is_root: bool,
        broadcast: Callable[[Any], Any],
    ) -> None:
        self._directory, self._keep, self._in_background = directory, keep, in_background
        self._mirror, self._is_root, self._broadcast = mirror, is_root, broadcast
        self._thread: Thread | None = None
        self._error: BaseException | None = None
        self._newest: Checkpoint | None = None
        self._is_mirror_behind = False
        self._progress = 0

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.wait()

    @property
    def failed(self) -> bool:
        """Whether a write has failed that no rank was told of. Always False on other ranks."""
        return self._error is not None

    @property
    def run(self) -> Path:
        """The run's directory."""
        return self._directory.parent

    @property
    def has_saved(self) -> bool:
        """Whether the run has a checkpoint, or has begun to write one."""
        return self._thread is not None or bool(newest_first(self._directory))

    def begin(self) -> None:
        """Wait for the checkpoint being written, so that memory can be copied to again. Every rank
        must call, before `save`.

        Raises:
            UserError: on all ranks, the write before failed.
        """
        self.wait()
        self.raise_failure()

    def save(
        self,
        step: int,
        write: Callable[[Path], None],
        *,
        meta: Mapping[str, Any],
        is_best: bool = False,
    ) -> None:
        """Start to write a checkpoint. Rank 0 only, after `begin` on all ranks.

        Args:
            step: optimizer updates made so far.
            write: called in the thread with an empty directory to put its files in; what it writes
                must not change before the next `begin`.
            meta: JSON values for meta.json; must not change either.
            is_best: as in `hvdcore.run.checkpoint.save`.
        """
        assert self._thread is None, "call begin() first"

        def work() -> None:
            try:
                self._newest = save(
                    self._directory, step, write, self._keep, meta=meta, is_best=is_best
                )
                self._progress += 1
                self._copy_to_mirror()
            except BaseException as error:
                self._error = error

        # Not a daemon: the interpreter does not exit in the middle of a write.
        self._thread = Thread(target=work, name="checkpoint")
        self._thread.start()
        if not self._in_background:
            self.wait()

    def end(self) -> None:
        """Agree that the checkpoint is complete, unless it is written in the background. Every rank
        must call, after `save`.

        Raises:
            UserError: on all ranks, the write failed.
        """
        if not self._in_background:
            self.raise_failure()

    def wait(self) -> None:
        """Wait for the checkpoint being written, if any. Acts on rank 0."""
        seen = -1
        while self._thread is not None:
            if self._progress != seen:  # else the watchdog shall see that nothing moves
                seen = self._progress
                beat("checkpoint")
            self._thread.join(WAIT_SECONDS)
            if not self._thread.is_alive():
                self._thread = None

    def raise_failure(self) -> None:
        """Raise what a write failed with. Every rank must call.

        Raises:
            UserError: on all ranks. Any other error is raised on rank 0 alone.
        """
        error, self._error = self._error, None
        if error is not None and not isinstance(error, UserError):
            raise error
        problems = self._broadcast([] if error is None else list(error.problems))
        if problems:
            raise UserError(*problems) from error

    def finish(self) -> None:
        """Wait until the last checkpoint is complete, and copied. Every rank must call.

        Raises:
            UserError: on all ranks, it could not be written, or not copied to the mirror.
        """
        self.wait()
        if self._is_mirror_behind and self._error is None:
            try:
                self._copy_newest()
            except UserError as error:
                self._error = error
        self.raise_failure()

    def _copy_to_mirror(self) -> None:
        """Copy what is complete here. A failure does not end the run: the next copy makes up."""
        if self._mirror is None:
            return
        try:
            self._copy_newest()
        except UserError as error:
            self._is_mirror_behind = True
            _logger.warning("%s; it is tried again with the next checkpoint", error)

    def _copy_newest(self) -> None:
        assert self._mirror is not None
        assert self._newest is not None
        self._mirror.copy(self._newest.path, self._moved)
        self._is_mirror_behind = False

    def _moved(self) -> None:
        self._progress += 1
