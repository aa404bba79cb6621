"""Owns real training runs in tests: a command, its exit code, and what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdcore.launch.job.horovodrun import clean_environment

__all__ = ["Run", "ranks_environment", "run_command"]


@dataclass(frozen=True)
class Run:
    """A finished command and its run directory."""

    path: Path
    returncode: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        """What report.json holds."""
        values: dict[str, Any] = json.loads((self.path / "report.json").read_text("utf-8"))
        return values

    def values(self, split: str, name: str) -> dict[int, float]:
        """One value by step, from metrics.jsonl."""
        lines = (self.path / "metrics.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return {row["step"]: row[name] for row in rows if row["split"] == split}

    def losses(self, split: str) -> dict[int, float]:
        """Loss by step."""
        return self.values(split, "loss")

    def check(self) -> Run:
        """Itself, when the command ended well; else an error with all that it printed."""
        assert self.returncode == 0, f"exit {self.returncode}\n{self.stdout}\n{self.stderr}"
        return self


def ranks_environment(own: Mapping[str, str]) -> dict[str, str]:
    """This process's, as the launcher cleans it, with one thread, for the cores are shared.

    Args:
        own: variables that the test sets.
    """
    return {**clean_environment(os.environ), "OMP_NUM_THREADS": "1", **own}


def run_command(
    output_dir: Path, line: Sequence[str], env: Mapping[str, str], timeout: float
) -> Run:
    """Run a command line to its end.

    Args:
        output_dir: the run directory that it writes.
        timeout: seconds after which the test fails.
    """
    ended = subprocess.run(
        line, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip
    return Run(output_dir, ended.returncode, ended.stdout, ended.stderr)
