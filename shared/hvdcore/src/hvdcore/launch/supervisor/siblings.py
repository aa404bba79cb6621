"""Owns watching the other supervisors on this host, where no launcher of ours does.

Under plain horovodrun or mpirun a supervisor that is stopped by a signal would be waited for for
ever once the work is done. The one with the lowest local rank that runs looks after the others.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from hvdcore.launch.supervisor.leftovers import find_leftovers
from hvdcore.launch.supervisor.processes import process_state
from hvdcore.runtime.world import World, world_from_environment

__all__ = ["SUPERVISED", "Siblings"]

SUPERVISED = "HVDCORE_SUPERVISED"
"""Variable of a process that has a supervisor."""

# What the processes of one job, and no others, have in common under each launcher.
_JOB_VARIABLES = ("PMIX_NAMESPACE", "OMPI_MCA_orte_hnp_uri", "HOROVOD_GLOO_RENDEZVOUS_PORT")
_LOOK_SECONDS = 5.0


def _environment(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        raw = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "surrogateescape")
        return dict(item.partition("=")[::2] for item in raw.split("\0") if "=" in item)
    return {}


class Siblings:
    """Finds supervisors of this job on this host that have been stopped for longer than `timeout`
    seconds. Times are seconds of a monotonic clock."""

    def __init__(self, world: World, env: Mapping[str, str], timeout: float) -> None:
        self.world = world
        self.timeout = timeout
        self._mark = next(((n, env[n]) for n in _JOB_VARIABLES if n in env), None)
        self._looked_at = 0.0
        self._stopped_since: dict[int, float] = {}

    def end_stopped(self, now: float) -> list[int]:
        """SIGKILL such supervisors, whereupon the launcher ends the job. Returns their ranks."""
        if self._mark is None or now - self._looked_at < min(_LOOK_SECONDS, self.timeout / 4):
            return []
        self._looked_at = now
        stopped = [p for p in find_leftovers(*self._mark) if process_state(p) in ("T", "t")]
        since = {pid: self._stopped_since.get(pid, now) for pid in stopped}
        self._stopped_since = since
        late = [pid for pid in stopped if now - since[pid] > self.timeout]
        return [rank for pid in late if (rank := self._end(pid)) is not None]

    def _end(self, pid: int) -> int | None:
        env = _environment(pid)
        if SUPERVISED in env:  # the rank's work: its own supervisor sees to it
            return None
        with contextlib.suppress(ValueError, OSError):
            theirs = world_from_environment(env)
            if theirs.size != self.world.size or theirs.rank == self.world.rank:
                return None
            if self.world.local_rank == (1 if theirs.local_rank == 0 else 0):
                os.kill(pid, signal.SIGKILL)
                return theirs.rank
        return None
