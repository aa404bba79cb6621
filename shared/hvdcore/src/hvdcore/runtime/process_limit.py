"""The limit of processes and threads: of the user (`ulimit -u`) and of the container (cgroup).

Where it is reached, programs say "Resource temporarily unavailable" and little else.
"""

from __future__ import annotations

import errno
import re
import resource
from contextlib import suppress
from pathlib import Path

__all__ = ["advice", "is_reached"]

_SAID = re.compile(
    r"can't start new thread|Resource temporarily unavailable|fork: retry|[Cc]annot fork"
    r"|Unable to start listen thread|[Tt]hread creation failed|pthread_create\(?\)? failed"
    r"|system limit on number of children"
)
_CGROUPS = Path("/sys/fs/cgroup")


def is_reached(what: BaseException | str) -> bool:
    """Whether an error, or what a program said last, means that nothing more can be started."""
    if isinstance(what, OSError):
        # A pipe that is full for now says EAGAIN too, and how much of a text it has taken.
        return what.errno == errno.EAGAIN and not hasattr(what, "characters_written")
    return _SAID.search(str(what)) is not None


def advice() -> str:
    """One sentence: what is wrong, the limits of this process, and what to do."""
    limits = {"ulimit -u": _of_user(), "pids.max of its cgroup": _of_cgroup()}
    known = ", ".join(f"{name} is {value}" for name, value in limits.items() if value)
    return (
        f"no more processes or threads can be started here ({known or 'the system is full'}); "
        "raise the limit (a container's --pids-limit), or start fewer ranks or threads"
    )


def _of_user() -> str:
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    return "" if limit == resource.RLIM_INFINITY else str(limit)


def _of_cgroup() -> str:
    """The lowest limit on the way from our group to the root of what we see."""
    lowest: int | None = None
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "pids"):
                continue
            root = _CGROUPS / controllers
            for folder in (root / path.strip("/"), *(root / path.strip("/")).parents):
                with suppress(OSError, ValueError):
                    value = int((folder / "pids.max").read_text(encoding="ascii"))
                    lowest = value if lowest is None else min(lowest, value)
    return "" if lowest is None else str(lowest)
