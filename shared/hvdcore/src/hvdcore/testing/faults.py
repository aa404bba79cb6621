"""Faults for tests: ranks that misbehave, full and read-only disks, strictly read traces.

`python -m hvdcore.testing.faults PACKAGE MODULE:CLASS.METHOD FAULT RANK STEP ARGUMENTS...` is the
package's command, with the fault in that call of the method on that rank.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from hvdcore.runtime.world import world_from_environment
from hvdcore.testing.ranks import RanksResult, run_ranks

__all__ = [
    "NoDisk",
    "check_named",
    "run_with_fault",
    "small_disk",
    "trace_events",
]

Fault = Literal["exception", "SIGKILL", "SIGSTOP", "SIGTERM"]
# Only the silent fault needs the watchdog; a busy machine is silent for long as it starts.
STALL_SECONDS = 20.0
LINES = {
    "exception": "rank 1 failed: ValueError: this batch is broken",
    "SIGKILL": "rank 1 was killed by SIGKILL",
    "SIGSTOP": "rank 1 stopped by a signal for more than 20 s",
}


def run_with_fault(
    package: str,
    method: str,
    arguments: Sequence[str],
    *,
    fault: Fault,
    folder: Path,
    controller: Literal["mpi", "gloo"],
    env: Mapping[str, str],
) -> RanksResult:
    """Train on two ranks, with the fault in step 3 of rank 1.

    Args:
        method: that reads a step's batch, as `module:Class.method`.
        arguments: of the package's command.
        folder: empty, for what the ranks say.
    """
    command = [sys.executable, "-m", "hvdcore.testing.faults", package, method, fault, "1", "3"]
    return run_ranks(
        [*command, *arguments], 2, folder=folder, controller=controller, timeout=900,
        stall_timeout=STALL_SECONDS if fault == "SIGSTOP" else 600.0, env=env,
    )  # fmt: skip


def check_named(ended: RanksResult, folder: Path, fault: Fault) -> None:
    """The job failed, one line names the rank and its log, and no process is left."""
    assert ended.returncode == 1, ended
    lines = [line for line in ended.stderr.splitlines() if line.startswith("rank ")]
    assert lines == [f"{LINES[fault]} (log: {folder / 'logs' / 'rank-1.log'})"], ended
    assert ended.orphans == ()


def put_in(method: str, fault: str, step: int) -> None:
    """Make the call of that number go wrong, counted from 0."""
    module, _, name = method.partition(":")
    owner, _, attribute = name.partition(".")
    of = getattr(importlib.import_module(module), owner)
    original, number = getattr(of, attribute), iter(range(10_000_000))

    def faulty(self: Any, *given: Any) -> Any:
        if next(number) == step:
            if fault == "exception":
                raise ValueError("this batch is broken")
            os.kill(os.getpid(), getattr(signal, fault))
        return original(self, *given)

    setattr(of, attribute, faulty)


def main() -> None:
    """Run the command that the process's arguments name."""
    package, method, fault, rank, step, *rest = sys.argv[1:]
    sys.argv = [sys.argv[0], *rest]
    if world_from_environment().rank == int(rank):
        put_in(method, fault, int(step))
    importlib.import_module(f"{package}.cli").main()


class NoDisk(OSError):
    """Nothing can be mounted here; says why."""


@contextmanager
def small_disk(
    folder: Path, *, kilobytes: int = 1024, is_read_only: bool = False
) -> Iterator[Path]:
    """A file system of its own at `folder`, which is made and must not exist.

    Raises:
        NoDisk: mounting needs root, and a machine that lets root do it.
    """
    if shutil.which("mount") is None or os.geteuid() != 0:
        raise NoDisk("mounting a small disk needs root and mount")
    folder.mkdir()
    options = f"size={kilobytes}k" + (",ro" if is_read_only else "")
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoDisk(f"this machine lets nobody mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a test that failed may still hold a file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def trace_events(path: Path) -> list[dict[str, Any]]:
    """All events of a trace, which is an object with `traceEvents` or a plain list of them.

    Raises:
        AssertionError: it is not one whole JSON value, an event lacks what its kind must have, or
            an interval was begun and not ended. A negotiation may be open at the end: another rank
            was ready for its next collective before the recording stopped.
    """
    content = json.loads(path.read_text("utf-8"))
    events: list[dict[str, Any]] = content["traceEvents"] if isinstance(content, dict) else content
    depth: Counter[Any] = Counter()
    last: dict[Any, dict[str, Any]] = {}
    for event in events:
        kind = event["ph"]
        assert "pid" in event, event
        assert kind == "M" or isinstance(event["ts"], (int, float)), event
        assert kind != "X" or event["dur"] >= 0, event
        lane = (event["pid"], event.get("tid"))
        depth[lane] += {"B": 1, "E": -1}.get(kind, 0)
        assert depth[lane] >= 0, event
        last[lane] = event
    for lane in +depth:
        assert depth[lane] == 1, last[lane]
        assert last[lane].get("name", "").startswith("NEGOTIATE_"), last[lane]
    return events


if __name__ == "__main__":
    main()
