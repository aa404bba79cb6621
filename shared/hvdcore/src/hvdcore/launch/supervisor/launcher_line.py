"""A supervisor's connection to the launcher that started its job, if there is one."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.launch.supervisor.channel import Channel, Message, connect
from hvdcore.launch.supervisor.outcome import RankEnd, Watch
from hvdcore.launch.supervisor.processes import kill_orphans
from hvdcore.runtime.environment import JOB, MONITOR
from hvdcore.runtime.terminal import write_fd
from hvdcore.runtime.world import World

__all__ = ["LauncherLine", "Orders", "call_launcher"]

_MAX_UNSENT_BYTES = 1 << 20
_REPORT_SECONDS = 0.5


@dataclass
class Orders:
    """What the launcher has told this rank so far."""

    stop_signals: list[int] = field(default_factory=list)
    abort: bool = False
    release: bool = False
    was_released: bool = False  # in words, not because the line broke


class LauncherLine:
    """Speaks to the launcher, or, under plain horovodrun, mpirun or srun, to the console."""

    def __init__(self, channel: Channel | None) -> None:
        self.channel = channel
        self.orders = Orders()
        self._reported_at = 0.0

    @property
    def is_clogged(self) -> bool:
        """The launcher does not take what was sent; then the rank's output has to wait."""
        return self.channel is not None and self.channel.unsent_bytes > _MAX_UNSENT_BYTES

    def show(self, fd: int, raw: bytes) -> None:
        """Put bytes on the user's console, stream 1 or 2."""
        if self.channel is None:
            write_fd(fd, raw)
        else:
            text = raw.decode("utf-8", "surrogateescape")
            self.channel.send({"type": "console", "fd": fd, "text": text})

    def report(self, watch: Watch, log: str, now: float) -> None:
        """Say, now and then, what the rank does and since when."""
        if self.channel is None or now - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = now
        beat = watch.beat
        state = {"type": "state", "phase": beat.phase, "step": beat.step, "beats": beat.number}
        self.channel.send({**state, "idle": watch.idle_seconds(now), "log": log})

    def send_end(self, end: RankEnd) -> None:
        """Tell how the rank ended. `orders.release` or a closed line is the answer."""
        if self.channel is not None:
            self.channel.send(end.as_message())

    def clean_up_for_launcher(self) -> None:
        """A launcher that was killed leaves its folder, and mpirun, which waits for long before it
        ends. Rank 0 does away with both: it is on the launcher's host.
        """
        if self.channel is None or self.channel.open or self.orders.was_released:
            return
        kill_orphans(JOB, os.environ[JOB])
        kind, _, path = os.environ.get(MONITOR, "").partition(":")
        if kind == "unix":
            shutil.rmtree(Path(path).parent, ignore_errors=True)

    def listen(self) -> None:
        """Take in the launcher's orders. A launcher that has gone means: abort."""
        if self.channel is None:
            return
        self.channel.flush()
        for message in self.channel.receive():
            self._obey(message)
        if not self.channel.open:
            self.orders.abort = self.orders.release = True

    def _obey(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "stop":
            self.orders.stop_signals.append(int(message["signal"]))
        elif kind == "abort":
            self.orders.abort = True
        elif kind == "release":
            self.orders.release = self.orders.was_released = True


def call_launcher(world: World) -> LauncherLine:
    """Call the launcher whose address is in the environment and introduce this rank.

    Raises:
        UserError: there is an address, and nobody answers.
    """
    address = os.environ.get(MONITOR)
    if not address:
        return LauncherLine(None)
    try:
        channel, token = connect(address)
    except OSError as error:
        raise UserError(
            f"launcher: rank {world.rank} on {os.uname().nodename} cannot reach it ({error}); "
            "let the hosts connect to each other, or start with horovodrun itself"
        ) from None
    place = {"rank": world.rank, "size": world.size, "host": os.uname().nodename}
    channel.send({"type": "hello", "token": token, "pid": os.getpid(), **place})
    return LauncherLine(channel)
