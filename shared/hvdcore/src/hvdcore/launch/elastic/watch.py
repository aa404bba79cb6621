"""Owns noticing, while a job runs, that hosts have come or gone. One thread beside the job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from hvdcore.errors import UserError
from hvdcore.launch.elastic.membership import Membership, Team
from hvdcore.launch.hosts.check import Fleet
from hvdcore.launch.hosts.hosts import Hosts

__all__ = ["POLL_SECONDS", "MembershipWatch"]

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
                    self._say(f"{error}; going on with the hosts there were")
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
