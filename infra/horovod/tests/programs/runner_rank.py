"""A rank that needs no framework: writes what it sees of itself, then does what it is told.

Arguments: a folder, and what to do: `wait` until the folder holds a file named `go`,
`exit:RANK:CODE`, or `kill:RANK`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def main(folder: Path, order: str) -> None:
    rank = os.environ.get("HOROVOD_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "none"))
    seen = {"pid": os.getpid(), "env": dict(os.environ), "argv": sys.argv, "cwd": os.getcwd()}
    part = folder / f"rank-{rank}.part"
    part.write_text(json.dumps(seen))
    part.rename(folder / f"rank-{rank}.json")
    verb, *words = order.split(":")
    if verb == "wait":
        wait_for(folder)
    elif words[0] != rank:
        time.sleep(600)
    elif verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        sys.exit(int(words[1]))


def wait_for(folder: Path) -> None:
    while not (folder / "go").exists():
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
