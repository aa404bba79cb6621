"""Open MPI's daemon on a node of a Slurm allocation, as `python -m` of this module runs it.

Slurm ends a job with SIGTERM to what it started on each node, which is this process. A daemon that
receives it serves nobody for a minute (the time it gives ranks to die), and ranks that have saved
wait for it. So the signal is kept from it: the batch script passes the signal to the launcher,
which stops the ranks. Once these have gone, the daemon is ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from hvdcore.launch.job.controllers import find_program

__all__ = ["DAEMON", "daemon_environment"]

DAEMON = "orted"
_TICK_SECONDS = 0.2


def daemon_environment() -> dict[str, str]:
    """What an Open MPI that is this Python's own needs to find itself on another host, in which
    only its mpirun would have set it; nothing for another Open MPI."""
    prefix = Path(sys.executable).parent.parent
    return {"OPAL_PREFIX": str(prefix)} if (prefix / "bin" / DAEMON).exists() else {}


def main(arguments: list[str]) -> int:
    """Run the daemon to its end, deaf to SIGTERM."""
    program = find_program(DAEMON)
    if program is None:
        print(f"error: {DAEMON} is not installed on {os.uname().nodename}", file=sys.stderr)
        return 1
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    # A session of its own: Slurm may signal the group of the process that it has started.
    daemon = subprocess.Popen(
        [program, *arguments], env={**os.environ, **daemon_environment()}, start_new_session=True
    )
    while daemon.poll() is None:
        if asked and not _has_children(daemon.pid):
            daemon.kill()
        time.sleep(_TICK_SECONDS)
    return daemon.returncode


def _has_children(pid: int) -> bool:
    import psutil  # here: the launcher, which reads our names, does not need it

    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).children())
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
