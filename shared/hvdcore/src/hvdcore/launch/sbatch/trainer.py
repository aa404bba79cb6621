"""Owns the trainer's command line in a batch script: whether it can be queued again, and what the
script adds to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import entry_points

from hvdcore.errors import Problems

__all__ = ["TrainerCommand"]

_SET_BY_THE_JOB = {
    "--np": "the job's ranks are those of --nodes and --ranks-per-node",
    "--hosts": "the job's hosts are those that Slurm gives it",
    "--hostfile": "the job's hosts are those that Slurm gives it",
    "--min-np": "the number of the job's ranks is fixed",
    "--max-np": "the number of the job's ranks is fixed",
    "--host-discovery-script": "the job's hosts are those that Slurm gives it",
}
_NEEDS_HVDCORE = re.compile(r"hvdcore(?![\w.-])")


@dataclass(frozen=True)
class TrainerCommand:
    """`PROGRAM train --option value ...`, as the user wrote it."""

    words: tuple[str, ...]

    @property
    def program(self) -> str:
        """The trainer's name."""
        return self.words[0]

    def value(self, option: str) -> str | None:
        """What an option was given, the last time it was; None where it was not."""
        found = None
        for word, after in zip(self.words, (*self.words[1:], ""), strict=True):
            name, equals, value = word.partition("=")
            if name == option:
                found = value if equals else after
        return found

    def without(self, option: str) -> TrainerCommand:
        """The same without an option and its value."""
        kept: list[str] = []
        words = iter(self.words)
        for word in words:
            if word == option:
                next(words, None)
            elif word.partition("=")[0] != option:
                kept.append(word)
        return TrainerCommand(tuple(kept))

    def check(self, problems: Problems, *, array: bool, elsewhere: bool) -> None:
        """Note what would make the job start wrong, or not go on when it is queued again.

        Args:
            array: the script gives each job a seed.
            elsewhere: the program is in a container, and cannot be looked at here.
        """
        if self.words[1:2] != ("train",):
            problems.add("command", f"got {' '.join(self.words[:2])!r}; give PROGRAM train ...")
        elif not elsewhere and not _is_trainer(self.program):
            problems.add(
                "command", f"{self.program} is no trainer installed here; install it, or check it"
            )
        if not self.value("--output-dir"):
            problems.add("--output-dir", "give one: a job that is queued again goes on from there")
        for option, why in _SET_BY_THE_JOB.items():
            if self.value(option) is not None:
                problems.add(option, f"{why}; leave it out")
        if self.value("--resume") not in (None, "auto"):
            problems.add("--resume", "the script says auto, for a job that goes on; leave it out")
        if array and self.value("--seed") is not None:
            problems.add("--seed", "--array gives each job its own; leave it out")


def _is_trainer(program: str) -> bool:
    """Whether a program of this environment is built on hvdcore."""
    found = [script.dist for script in entry_points(group="console_scripts", name=program)]
    return any(
        dist is not None and any(map(_NEEDS_HVDCORE.match, dist.requires or [])) for dist in found
    )
