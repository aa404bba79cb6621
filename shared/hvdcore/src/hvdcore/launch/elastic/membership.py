"""Which of the listed hosts take part, and noticing hosts that come or go while a job runs.

Hosts that failed stay out for a while, longer each time. Times are seconds of a monotonic clock,
given by the caller; one thread beside the job watches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hvdcore.errors import UserError
from hvdcore.launch.hosts.check import Fleet
from hvdcore.launch.hosts.hosts import Hosts

__all__ = [
    "POLL_SECONDS",
    "Membership",
    "MembershipWatch",
    "Team",
]

FIRST_COOL_DOWN_SECONDS = 10.0
MAX_COOL_DOWN_SECONDS = 600.0
# A machine that is reclaimed gets a notice some 30 s to 2 minutes before.
LEAVING_SECONDS = 120.0


@dataclass(frozen=True)
class Team:
    """The hosts of one start, and how many ranks run on them."""

    hosts: Hosts
    np: int


@dataclass
class _Record:
    """What is known of one host. `is_last_resort`: it answers, and may be taken before its time
    when there are too few others."""

    slots: int = 0
    failures: int = 0
    out_until: float = 0.0
    is_last_resort: bool = True


@dataclass
class Membership:
    """The hosts of a run over its life, in the order in which they came.

    Attributes:
        minimum: fewer ranks than this never start.
        wanted: hosts that failed come back early if there are fewer ranks than this.
        maximum: more ranks than this never start.
        fits: whether a number of ranks can run the command.
    """

    minimum: int
    wanted: int
    maximum: int
    fits: Callable[[int], bool] = lambda np: True
    _records: dict[str, _Record] = field(default_factory=dict)

    def list_hosts(self, hosts: Hosts) -> None:
        """These are the hosts there are now; the others have gone."""
        for name, record in self._records.items():
            record.slots = hosts.slots.get(name, 0)
        for name, slots in hosts.slots.items():
            self._records.setdefault(name, _Record()).slots = slots

    def failed(self, name: str, now: float, *, answers: bool) -> float:
        """A host failed, or did not answer. Returns the seconds for which it stays out."""
        record = self._records[name]
        seconds = min(FIRST_COOL_DOWN_SECONDS * 2.0**record.failures, MAX_COOL_DOWN_SECONDS)
        record.failures += 1
        record.out_until, record.is_last_resort = now + seconds, answers
        return seconds

    def leaving(self, name: str, now: float) -> None:
        """A host asked its ranks to stop: it will be gone soon."""
        record = self._records[name]
        record.out_until, record.is_last_resort = now + LEAVING_SECONDS, False

    def is_listed(self, name: str) -> bool:
        """Whether a host is there, fit or not."""
        return self._records[name].slots > 0

    def choose(self, now: float) -> Team | None:
        """The team to start now, None when there are too few slots."""
        listed = {name: record for name, record in self._records.items() if record.slots}
        chosen = [name for name, record in listed.items() if record.out_until <= now]
        resorts = [n for n, r in listed.items() if r.out_until > now and r.is_last_resort]
        for name in sorted(resorts, key=lambda name: listed[name].out_until):
            if sum(listed[n].slots for n in chosen) >= self.wanted:
                break
            chosen.append(name)
        return self._team({name: listed[name].slots for name in listed if name in chosen})

    def _team(self, slots: dict[str, int]) -> Team | None:
        available = min(sum(slots.values()), self.maximum)
        np = next((n for n in range(available, self.minimum - 1, -1) if n and self.fits(n)), None)
        if np is None:
            return None
        left = np
        taken = {}
        for name, number in slots.items():
            taken[name] = min(number, left)
            left -= taken[name]
        return Team(Hosts({name: number for name, number in taken.items() if number}), np)


POLL_SECONDS = 2.0


class MembershipWatch:
    """While open, `reason` turns from '' to a sentence once another team should be started.

    Args:
        ask: the hosts there are now; raises UserError.
        membership: taken over while open: nobody else touches it.
        team: that runs.
        look: whether newcomers are fit.
        say: shows a line to the user.
    """

    def __init__(
        self,
        ask: Callable[[], Hosts],
        membership: Membership,
        team: Team,
        look: Callable[[Hosts], Fleet],
        say: Callable[[str], None],
    ) -> None:
        self.reason = ""
        self._ask, self._membership, self._team = ask, membership, team
        self._look, self._say = look, say
        self._last_error = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="membership", daemon=True)

    def __enter__(self) -> MembershipWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self.reason and not self._closed.wait(POLL_SECONDS):
            try:
                hosts = self._ask()
                self._last_error = ""
            except UserError as error:  # what was true before is the best guess now
                if str(error) != self._last_error:
                    self._say(f"{error}; continuing with the previous hosts")
                self._last_error = str(error)
                continue
            self.reason = self._change(hosts)

    def _change(self, hosts: Hosts) -> str:
        membership, running = self._membership, self._team.hosts
        membership.list_hosts(hosts)
        gone = [name for name in running.slots if not membership.is_listed(name)]
        if gone:
            return f"{', '.join(gone)} left"
        better = membership.choose(time.monotonic())
        if better is None or better.np <= self._team.np:
            return ""
        grown = {n: s for n, s in better.hosts.slots.items() if s > running.slots.get(n, 0)}
        # One that is not fit must not disturb those that run.
        fleet = self._look(Hosts(grown))
        for name, problems in fleet.problems.items():
            self._say("; ".join(problems))
            membership.failed(name, time.monotonic(), answers=False)
        return "" if fleet.problems else f"{', '.join(grown)} joined"
