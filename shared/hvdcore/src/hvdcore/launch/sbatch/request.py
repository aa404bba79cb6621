"""What a job requests from Slurm: nodes, ranks, time, seeds; checked before sbatch reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hvdcore.errors import Problems

__all__ = ["SAVE_SECONDS", "Request"]

SAVE_SECONDS = 120
"""So long before the time limit the ranks are asked to save."""

# man sbatch: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]].
_TIME = re.compile(
    r"(?P<days>\d+)-(?P<d_hours>\d+)(:(?P<d_minutes>\d+)(:(?P<d_seconds>\d+))?)?"
    r"|((?P<hours>\d+):(?=\d+:\d+))?(?P<minutes>\d+)(:(?P<seconds>\d+))?",
    re.ASCII,
)
_UNITS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
_RANGE = re.compile(r"(?P<first>\d+)(-(?P<last>\d+)(:[1-9]\d*)?)?", re.ASCII)
_NAME = re.compile(r"\w[\w.,+@-]*", re.ASCII)
_GPUS = re.compile(r"(\w[\w.-]*:)?(?P<number>[1-9]\d*)", re.ASCII)
# sbatch reads these lines with quotes, escapes and comments of its own.
_OPTION = re.compile(r"--(?P<name>[a-z][a-z-]*)(=[^\s\"'\\#]+)?", re.ASCII)
_OURS = re.compile(
    r"nodes|ntasks(-per-node)?|cpus-per-task|gpus-per-node|time|partition|account|array|signal"
    r"|(no-)?requeue|open-mode|wrap"
)


@dataclass(frozen=True)
class Request:
    """What the user asks for, in Slurm's words; None where nothing was said.

    Attributes:
        time: the limit of one run of the job; what is not done by then goes back to the queue.
        array: seeds, a job for each: `0-4`, `0,3,7`, `0-9%2`.
        container: an image in which the ranks run.
        more: other options of sbatch, `--name` or `--name=value`.
    """

    time: str
    nodes: int = 1
    ranks_per_node: int | None = None
    cpus_per_rank: int | None = None
    gpus_per_node: str | None = None
    partition: str | None = None
    account: str | None = None
    array: str | None = None
    container: str | None = None
    more: tuple[str, ...] = ()

    @property
    def tasks_per_node(self) -> int:
        """Ranks on each node: as asked for, else one for each GPU, else one."""
        gpus = _GPUS.fullmatch(self.gpus_per_node or "")
        return self.ranks_per_node or (int(gpus["number"]) if gpus else 1)

    def check(self, problems: Problems) -> None:
        """Note everything that Slurm would refuse, or take in another sense."""
        for option, number in (
            ("--nodes", self.nodes),
            ("--ranks-per-node", self.ranks_per_node),
            ("--cpus-per-rank", self.cpus_per_rank),
        ):
            if number is not None and number < 1:
                problems.add(option, f"got {number}; give a whole number of 1 or more")
        for option, name in (("--partition", self.partition), ("--account", self.account)):
            if name is not None and not _NAME.fullmatch(name):
                problems.add(option, f"got {name!r}; give a name known to Slurm")
        if self.gpus_per_node is not None and not _GPUS.fullmatch(self.gpus_per_node):
            problems.add("--gpus-per-node", f"got {self.gpus_per_node!r}; write 4 or a100:4")
        if self.container is not None and not self.container.strip():
            problems.add("--container", "got nothing; give an image")
        self._check_time(problems)
        self._check_array(problems)
        self._check_more(problems)

    def _check_time(self, problems: Problems) -> None:
        match = _TIME.fullmatch(self.time)
        if match is None:
            return problems.add(
                "--time", f"got {self.time!r}; write hours:minutes:seconds or days-hours"
            )
        given = {
            name.removeprefix("d_"): int(text)
            for name, text in match.groupdict("0").items()
            if text != "0"
        }
        if sum(number * _UNITS[unit] for unit, number in given.items()) <= SAVE_SECONDS:
            problems.add(
                "--time", f"got {self.time}; give more than the {SAVE_SECONDS} s kept for saving"
            )

    def _check_array(self, problems: Problems) -> None:
        if self.array is None:
            return
        seeds, percent, at_once = self.array.partition("%")
        ranges = [_RANGE.fullmatch(item) for item in seeds.split(",")]
        fits = all(m and int(m["last"] or m["first"]) >= int(m["first"]) for m in ranges)
        if not fits or (percent and not re.fullmatch(r"[1-9]\d*", at_once, re.ASCII)):
            problems.add("--array", f"got {self.array!r}; write seeds as 0-4, 0,3,7 or 0-9%2")

    def _check_more(self, problems: Problems) -> None:
        for text in self.more:
            match = _OPTION.fullmatch(text)
            if match is None:
                problems.add("--sbatch", f"got {text!r}; write --name or --name=value, unquoted")
            elif _OURS.fullmatch(match["name"]):
                problems.add("--sbatch", f"--{match['name']} is the script's own; leave it out")
