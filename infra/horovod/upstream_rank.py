"""One rank of upstream's tests: pytest, with a report of its own and a note of each test begun.

python upstream_rank.py FOLDER TEST_FILE PYTEST_ARGUMENTS...
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest


class WithoutMuon:
    """Hides torch.optim.Muon from tests that try every optimizer in torch.optim.

    It takes matrices only, and they give each optimizer a network with biases, wrapped or not.
    """

    def pytest_collection_finish(self) -> None:
        """Called by pytest when the test files have been imported."""
        torch = sys.modules.get("torch")
        if torch is not None and hasattr(torch.optim, "Muon"):
            torch.optim.Muon.__module__ = "muon"


class Progress:
    """Notes each test before it runs, and when it has passed or was skipped.

    So the test in which a process ends or hangs is known, and those before it count.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Called by pytest before each test."""
        self.note("begun", nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after each test, and after what comes before and after it."""
        if report.skipped or (report.passed and report.when == "call"):
            self.note(report.outcome, report.nodeid)

    def note(self, what: str, nodeid: str) -> None:
        """Appends a line with the name of a test as pytest's report has it."""
        parts = nodeid.split("::")
        owner = parts[-2].removesuffix(".py").rpartition("/")[2]
        with self.path.open("a") as file:
            file.write(f"{what} {owner}::{parts[-1]}\n")


def main(folder: Path, *arguments: str) -> int:
    """Runs pytest in the folder of the tests."""
    rank = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("HOROVOD_RANK") or "0"
    options = ["-q", "-p", "no:cacheprovider", "--disable-warnings", "--rootdir=."]
    options += ["--continue-on-collection-errors", f"--junit-xml={folder}/report.{rank}.xml"]
    plugins = [Progress(folder / f"progress.{rank}"), WithoutMuon()]
    return pytest.main([*options, *arguments], plugins=plugins)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
