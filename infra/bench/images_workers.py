"""Starts the two workers of MultiWorkerMirroredStrategy, which has no launcher of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RANK = Path(__file__).with_name("images_rank.py")


def main() -> int:
    """The exit code of the first worker that failed, or 0."""
    workers = [subprocess.Popen([sys.executable, str(RANK), "mwms", str(i)]) for i in range(2)]
    return max(worker.wait() for worker in workers)


if __name__ == "__main__":
    sys.exit(main())
