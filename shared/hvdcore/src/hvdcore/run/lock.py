"""The lock of a run directory: one run at a time trains in it, on any host that shares the disk.

`.lock/` in the run directory holds numbered files; the highest number is the lock. Each names its
holder. A file is created by a hard link, or exclusively, which the disk decides between hosts; no
`flock` is needed, which some network file systems do not have. Whoever finds the highest one
released, or its holder dead, creates the next number.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from hvdcore.errors import UserError
from hvdcore.files.atomic import write_bytes_atomically, writing
from hvdcore.runtime.environment import LAUNCH
from hvdcore.runtime.heartbeat import beat
from hvdcore.tracking.logs import get_logger

__all__ = ["LOCK_FOLDER", "RunLock", "hold_run_dir", "refuse_if_held", "run_dirs_held"]

LOCK_FOLDER = ".lock"
_OUTCOME = "outcome"
_BEAT_SECONDS = 5.0
_DEAD_SECONDS = 60.0
_POLL_SECONDS = 0.2
_logger = get_logger(__name__)
_held: list[RunLock] = []


@dataclass(frozen=True)
class Holder:
    """A process that holds, or held, a run directory.

    Attributes:
        space: where its process id counts: this boot of a machine, and the container's own ids.
        started: when it started, seconds since boot; process ids are used again.
        launch: what started its ranks; empty when nothing of ours did.
    """

    host: str
    pid: int
    started: float
    space: str
    launch: str = ""
    released: bool = False

    @classmethod
    def ours(cls) -> Holder:
        """This process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _started(pid), _space(), os.environ.get(LAUNCH, ""))

    def is_alive(self) -> bool | None:
        """None where it cannot be told: it is on another host, or in another container."""
        if self.released:
            return False
        if self.launch and self.launch == os.environ.get(LAUNCH):
            return False  # an earlier start of our own job; the launcher saw it end
        if self.space != _space():
            return None
        return abs(_started(self.pid) - self.started) < 1

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _space() -> str:
    """Processes with an equal one see each other by their ids."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _started(pid: int) -> float:
    """Seconds between the boot and the start of a process, which no change of the clock moves; -1
    when there is none that runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        return -1.0 if fields[0] in "ZX" else int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except FileNotFoundError:
        pass
    with suppress(psutil.Error):  # a system without /proc
        return -1.0 if Path("/proc/self").exists() else float(psutil.Process(pid).create_time())
    return -1.0


class RunLock:
    """The lock of one run directory. `take` and `release`.

    Args:
        dead_seconds: a holder of whom nothing else is known, since it is on another host, counts
            as dead when its file has not changed for so long. A living one touches it every 5 s.
    """

    def __init__(self, run_dir: Path, dead_seconds: float = _DEAD_SECONDS) -> None:
        self.run_dir = run_dir
        self.folder = run_dir / LOCK_FOLDER
        self._dead_seconds = dead_seconds
        self._path: Path | None = None
        self._stop = threading.Event()

    def take(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Make the lock this process's.

        Args:
            on_wait: called again and again while a holder on another host may be alive.

        Raises:
            UserError: a living process holds it, or the disk cannot be written.
        """
        with writing(self.run_dir):
            self.folder.mkdir(parents=True, exist_ok=True)
            while self._path is None:
                number, holder = self._highest()
                if holder is not None and self._alive(number, holder, on_wait):
                    raise UserError(_in_use(self.run_dir, holder))
                self._path = self._create(number + 1)
            self._remove_lower()
        threading.Thread(target=self._beat, daemon=True, name="run lock").start()

    def release(self, outcome: str = "") -> None:
        """Give it back. The file stays and says so: a number is never used twice.

        Args:
            outcome: 'failed' or 'stopped', kept beside it for who lists the runs.
        """
        path, self._path = self._path, None
        self._stop.set()
        if path is not None and path.exists():
            with suppress(OSError, UserError):
                write_bytes_atomically(self.folder / _OUTCOME, f"{outcome}\n".encode())
                write_bytes_atomically(path, _encoded(Holder.ours(), released=True))

    def outcome(self) -> str:
        """How the last run that could say so ended: 'failed', 'stopped', or nothing is known."""
        with suppress(OSError):
            return (self.folder / _OUTCOME).read_text(encoding="ascii", errors="replace").strip()
        return ""

    def changed_at(self) -> float | None:
        """When the holder touched it last, in seconds since 1970."""
        number, _ = self._highest()
        change = _change(self.folder / str(number)) if number else None
        return None if change is None else change[0] / 1e9

    def holder(self) -> Holder | None:
        """Who is known to hold it at this moment."""
        _, holder = self._highest()
        return holder if holder is not None and holder.is_alive() else None

    def last_holder(self) -> Holder | None:
        """Who took it last and has not released it, alive or not."""
        return self._highest()[1]

    def _highest(self) -> tuple[int, Holder | None]:
        """The lock's number, 0 when there is none; and who holds it, None for nobody."""
        try:
            numbers = [int(name) for name in os.listdir(self.folder) if name.isdecimal()]
        except (FileNotFoundError, NotADirectoryError):
            return 0, None
        number = max(numbers, default=0)
        return number, _read(self.folder / str(number)) if number else None

    def _alive(self, number: int, holder: Holder, on_wait: Callable[[], None]) -> bool:
        alive = holder.is_alive()
        if alive is not None:
            return alive
        path = self.folder / str(number)
        seen, until = _change(path), time.monotonic() + self._dead_seconds
        _logger.info(
            "%s was used by %s; looking whether it is alive (up to %g s)",
            self.run_dir, holder, self._dead_seconds,
        )  # fmt: skip
        while time.monotonic() < until:
            on_wait()
            time.sleep(_POLL_SECONDS)
            os.listdir(self.folder)  # has a network file system look again
            now = _change(path)
            if now != seen:
                return now is not None and _read(path) is not None
        return False

    def _create(self, number: int) -> Path | None:
        """The file of this number, if nobody was faster."""
        path, draft = self.folder / str(number), self.folder / f".{secrets.token_hex(8)}"
        content = _encoded(Holder.ours())
        draft.write_bytes(content)
        try:
            os.link(draft, path)
        except FileExistsError:
            return None
        except OSError:  # a file system without hard links
            try:
                with path.open("xb") as file:
                    file.write(content)
            except FileExistsError:
                return None
        finally:
            draft.unlink()
        if self._highest()[0] > number:  # we were slow, and others came and went
            path.unlink()
            return None
        return path

    def _remove_lower(self) -> None:
        assert self._path is not None
        for name in os.listdir(self.folder):
            if name.isdecimal() and int(name) < int(self._path.name):
                with suppress(FileNotFoundError):
                    (self.folder / name).unlink()

    def _beat(self) -> None:
        path = self._path
        while path is not None and not self._stop.wait(_BEAT_SECONDS):
            with suppress(OSError):
                os.utime(path)


def _encoded(holder: Holder, released: bool = False) -> bytes:
    return json.dumps({**asdict(holder), "released": released}).encode() + b"\n"


def _read(path: Path) -> Holder | None:
    """None when it is released. One that cannot be read is somebody's who writes it just now."""
    try:
        values = json.loads(path.read_bytes())
        holder = Holder(**values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError):
        return Holder("an unknown host", 0, 0.0, "unknown")
    return None if holder.released else holder


def _change(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _in_use(run_dir: Path, holder: Holder) -> str:
    return (
        f"output_dir: {run_dir} is in use by {holder}; wait until that run ends, or give another"
        f" --output-dir (if no run is there, delete {run_dir / LOCK_FOLDER})"
    )


def refuse_if_held(run_dir: Path) -> None:
    """Check that no living process of this host trains in a directory; nothing is written.

    Raises:
        UserError: one does.
    """
    if any(lock.run_dir.resolve() == run_dir.resolve() for lock in _held):
        return
    holder = RunLock(run_dir).holder()
    if holder is not None:
        raise UserError(_in_use(run_dir, holder))


def hold_run_dir(run_dir: Path) -> None:
    """Take a run directory until `run_dirs_held` ends. Rank 0 only, before it writes there.

    Raises:
        UserError: another process trains in it, or the disk cannot be written.
    """
    if any(lock.run_dir.resolve() == run_dir.resolve() for lock in _held):
        return
    is_new = not run_dir.exists()
    lock = RunLock(run_dir)
    try:
        lock.take(lambda: beat("start"))
    except UserError:
        if is_new:
            shutil.rmtree(lock.folder, ignore_errors=True)
        raise
    _held.append(lock)


@contextmanager
def run_dirs_held() -> Iterator[None]:
    """Around a training, as a decorator too: gives back what `hold_run_dir` took inside."""
    before, outcome = len(_held), "stopped"
    try:
        yield
    except Exception:
        outcome = "failed"
        raise
    finally:
        while len(_held) > before:
            _held.pop().release(outcome)
