"""Owns what a package gives for its verb `tune`: a name, a configuration, a space, objectives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdcore.config import Config
from hvdcore.tune.objective import Objective
from hvdcore.tune.space import Space

__all__ = ["Tunable"]


def _no_check(config: Any, np: int) -> None:
    """Nothing is wrong."""


@dataclass(frozen=True)
class Tunable:
    """A trainer whose settings can be searched.

    Its program has the verbs `prepare --config FILE` and
    `train --config FILE --output-dir DIR`, and the run writes metrics.jsonl.

    Args:
        package: the module that `python -m` runs, and the distribution with the extra `tune`.
        config: the configuration of a training run.
        space: what is searched by default, for the configuration that all trials share.
        objectives: what `--objective` offers, by name; the first is the default.
        check: raises UserError for what `prepare` cannot see of the shared configuration on so
            many ranks; called after `prepare`, before the first trial.
        program: in place of `python -m PACKAGE`.
    """

    package: str
    config: type[Config]
    space: Callable[[Any], Space]
    objectives: Mapping[str, Objective]
    check: Callable[[Any, int], object] = _no_check
    program: tuple[str, ...] = ()

    def command(self, verb: str, config: Path, *arguments: str) -> list[str]:
        """The command line of a verb with a configuration file."""
        program = self.program or (sys.executable, "-m", self.package)
        return [*program, verb, "--config", str(config), *arguments]
