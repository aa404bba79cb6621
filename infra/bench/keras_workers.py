"""Starts the two workers of MultiWorkerMirroredStrategy, which has no launcher of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RANK = Path(__file__).with_name("keras_rank.py")


def main(work: str) -> int:
    """The exit code of the first worker that failed, or 0."""
    line = [sys.executable, str(RANK), work, "mwms"]
    workers = [subprocess.Popen([*line, str(index)]) for index in range(2)]
    return max(worker.wait() for worker in workers)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
