"""A trainer's command in tests: real runs with tiny settings and a cache of their own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from hvdcore.testing.runs import Run, ranks_environment, run_command

__all__ = ["Trainer"]


@dataclass(frozen=True)
class Trainer:
    """The command of a package.

    Attributes:
        package: the module that `python -m` runs.
        tiny: flags of `train` with which a step takes milliseconds.
    """

    package: str
    tiny: tuple[str, ...]

    def command(self, *arguments: str) -> list[str]:
        """The command with arguments, run by this interpreter."""
        return [sys.executable, "-m", self.package, *arguments]

    def environment(self, cache: Path) -> dict[str, str]:
        """This process's environment, as the launcher cleans it, with another cache."""
        return ranks_environment({"XDG_CACHE_HOME": str(cache)})

    def run(self, output_dir: Path, line: list[str], timeout: float = 900.0) -> Run:
        """Run any command in the environment of the tests."""
        return run_command(output_dir, line, self.environment(output_dir.parent / "cache"), timeout)

    def train(
        self,
        output_dir: Path,
        data: Path | str,
        *flags: str,
        launcher: tuple[str, ...] = (),
        timeout: float = 900.0,
    ) -> Run:
        """Train with the tiny settings and wait for the end."""
        where = ("--data", str(data), "--output-dir", str(output_dir))
        line = self.command("train", *where, *self.tiny, *flags)
        return self.run(output_dir, [*launcher, *line], timeout)
