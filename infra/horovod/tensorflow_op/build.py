"""Compiles the TensorFlow operations: five C++ files, no header or library of TensorFlow's.

python build.py OUTPUT [COMPILER ...]        COMPILER: g++, or "zig c++ -target ..."
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["command"]

FOLDER = Path(__file__).resolve().parent


def command(compiler: Sequence[str], output: Path) -> list[str]:
    """The one command that compiles and links libhorovod_tensorflow.so.

    Args:
        compiler: a C++17 compiler for Linux, with the arguments that choose the platform.
        output: the library's path; its folder must exist.
    """
    options = ["-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra"]
    link = ["-Wl,--version-script=" + str(FOLDER / "exports.map"), "-Wl,-s", "-ldl", "-lpthread"]
    sources = sorted(str(path) for path in FOLDER.glob("*.cc"))
    return [*compiler, *options, *sources, "-o", str(output), *link]


if __name__ == "__main__":
    subprocess.run(command(sys.argv[2:] or ["g++"], Path(sys.argv[1])), check=True)
