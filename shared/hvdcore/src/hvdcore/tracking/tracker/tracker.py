"""The tracker of a run: a thread sends its points to a service, so that no step waits for one.

`tracker.json` in the run directory holds the id of the run there and the last step of each split
that has been sent. A resumed run continues with that id, and sends from metrics.jsonl what was not
sent before: a service that was away misses nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError, without_passwords
from hvdcore.files.json_files import read_json_object, write_json_atomically
from hvdcore.tracking.logs import get_logger
from hvdcore.tracking.tracker.backend import Backend, Point, RunInfo, Status
from hvdcore.tracking.tracker.fields import check_tracker

__all__ = ["STATE_FILE", "Tracker", "open_tracker", "point_of"]

STATE_FILE = "tracker.json"
_RETRY_SECONDS = 60.0
_CLOSE_SECONDS = 60.0
_SILENT_SECONDS = 3.0
"""After which the user is told what a start waits for."""
_logger = get_logger(__name__)


def open_tracker(
    name: str | None, info: RunInfo, history: Iterable[Mapping[str, Any]]
) -> Tracker | None:
    """The tracker of that name, with its run open; None without a name. Rank 0 alone calls.

    Args:
        history: the lines of metrics.jsonl so far.

    Raises:
        UserError: it is not installed, or a new run cannot be opened.
    """
    if name is None:
        return None
    check_tracker(name)
    with _loading(name):
        backend = _backend(name, info)
    points = [point for line in history if (point := point_of(line)) is not None]
    return Tracker(backend, info.path, points)


@contextmanager
def _loading(name: str) -> Iterator[None]:
    """
    Raises:
        UserError: it is installed, and cannot be imported.
    """
    try:
        yield
    except Exception as error:  # whatever its modules raise while they are loaded
        raise UserError(
            f"tracker: {name} cannot be imported ({_first_line(error)}); pip install --upgrade "
            f"{name}, or leave out --tracker"
        ) from error


def _backend(name: str, info: RunInfo) -> Backend:
    if name == "mlflow":
        from hvdcore.tracking.tracker.mlflow_backend import MlflowBackend

        return MlflowBackend(info)
    from hvdcore.tracking.tracker.wandb_backend import WandbBackend

    return WandbBackend(info)


def point_of(line: Mapping[str, Any]) -> Point | None:
    """The point of a line of metrics.jsonl; None if it has no step or no number. Counts
    (`num_...`) are the same at every step, and no curve."""
    step, split = line.get("step"), line.get("split")
    if not isinstance(step, int) or not isinstance(split, str):
        return None
    values = {
        f"{split}/{name}": float(value)
        for name, value in line.items()
        if name not in ("step", "epoch") and not name.startswith("num_") and _is_number(value)
    }
    return Point(split, step, values) if values else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Tracker:
    """Sends a run's points to a service from a thread; no step waits for it.

    Args:
        backend: the client of the service.
        folder: the run directory.
        history: points of earlier starts; those which the service has are left out.

    Raises:
        UserError: a new run cannot be opened. Where the run is there already, or later, a failure
            is a warning: training goes on, and the points are sent when the service is back.
    """

    def __init__(self, backend: Backend, folder: Path, history: Sequence[Point] = ()) -> None:
        self._backend, self._folder = backend, folder
        self._run_id, self._sent = self._read_state()
        self._started = self._has_failed = False
        self._retry_at = 0.0
        self._status: Status = "failed"
        self._pending: list[Point] = []
        self._queue: queue.SimpleQueue[Point | None] = queue.SimpleQueue()
        self._open()
        for point in history:
            self.add(point)
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    def add(self, point: Point) -> None:
        """Have a point sent; returns at once. A step that the service has is not sent again."""
        if point.step > self._sent.get(point.split, -1):
            self._queue.put(point)

    def close(self, status: Status) -> None:
        """Send what is left and end the run there; gives up after a minute."""
        self._status = status
        self._queue.put(None)
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            self._warn(f"no answer for {_CLOSE_SECONDS:g} s")

    def _open(self) -> None:
        is_new = self._run_id is None
        name = self._backend.name
        waiting = threading.Timer(
            _SILENT_SECONDS, _logger.warning, ["tracker: waiting for an answer of %s", name]
        )
        waiting.daemon = True
        waiting.start()
        try:
            self._start()
        except Exception as error:  # the client, its HTTP library and the system raise their own
            if is_new:
                text = f"tracker: {name}: no run can be opened: {_first_line(error)}"
                raise UserError(
                    f"{text}; check its environment variables, or leave out --tracker"
                ) from error
            self._fail(error)
        finally:
            waiting.cancel()

    def _start(self) -> None:
        self._run_id = self._backend.start(self._run_id)
        self._started = True
        self._write_state()

    def _work(self) -> None:
        while True:
            point = self._queue.get()
            while point is not None:
                self._pending.append(point)
                try:
                    point = self._queue.get_nowait()
                except queue.Empty:
                    break
            is_last = point is None
            if is_last or time.monotonic() >= self._retry_at:
                self._deliver(is_last)
            if is_last:
                return

    def _deliver(self, is_last: bool) -> None:
        """Send what waits, and end the run after the last point."""
        try:
            if not self._started:
                self._start()
            if self._pending:
                self._backend.send(self._pending)
                self._sent.update({point.split: point.step for point in self._pending})
                self._pending.clear()
                self._write_state()
            if is_last:
                reports = (self._folder / "report.json", self._folder / "report.html")
                files = [path for path in reports if self._status == "finished" and path.is_file()]
                self._backend.finish(self._status, files)
        except Exception as error:  # the client, its HTTP library and the system raise their own
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        if not self._has_failed:
            self._has_failed = True
            self._warn(_first_line(error))

    def _warn(self, what: str) -> None:
        _logger.warning(
            "tracker: %s: %s; training goes on, metrics.jsonl has every point, and a resumed run "
            "sends what is missing", self._backend.name, what,
        )  # fmt: skip

    def _read_state(self) -> tuple[str | None, dict[str, int]]:
        found = _read_states(self._folder).get(self._backend.name)
        if not isinstance(found, dict) or not isinstance(found.get("run_id"), str):
            return None, {}
        sent = found.get("sent")
        steps = sent.items() if isinstance(sent, dict) else ()
        return found["run_id"], {split: step for split, step in steps if isinstance(step, int)}

    def _write_state(self) -> None:
        own = {"run_id": self._run_id, "sent": self._sent}
        state = {**_read_states(self._folder), self._backend.name: own}
        write_json_atomically(self._folder / STATE_FILE, state)


def _read_states(folder: Path) -> dict[str, Any]:
    """What each tracker that was used has left, by name."""
    path = folder / STATE_FILE
    try:
        return read_json_object(path) if path.is_file() else {}
    except UserError:
        return {}


def _first_line(error: Exception) -> str:
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    text = without_passwords(text)[:300]  # before it is cut
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
