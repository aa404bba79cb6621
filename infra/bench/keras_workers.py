"""Starts two processes side by side: `keras_workers.py images|news mwms|ours`.

MultiWorkerMirroredStrategy has no launcher of its own; two of ours started like this are alone in
their worlds and exchange nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RANK = Path(__file__).with_name("keras_rank.py")


def main(work: str, kind: str) -> int:
    """The exit code of the first worker that failed, or 0."""
    line = [sys.executable, str(RANK), work, kind]
    workers = [subprocess.Popen([*line, str(index)]) for index in range(2)]
    return max(worker.wait() for worker in workers)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
