"""The agent of a run over several jobs: start, read the outcome, choose the hosts, restart."""

from __future__ import annotations

import time
from collections.abc import Callable

from hvdcore.errors import UserError
from hvdcore.launch.elastic.membership import POLL_SECONDS, MembershipWatch, Team
from hvdcore.launch.elastic.plan import Plan
from hvdcore.launch.hosts.check import Fleet, show_fleet
from hvdcore.launch.hosts.hosts import Hosts
from hvdcore.launch.job.job import JobEnd, JobSettings, StartRanks, run_job, start_with_horovodrun
from hvdcore.launch.supervisor.outcome import EXIT_FAILED, STOP_CODES
from hvdcore.runtime.signals import SignalInbox, wait_readable
from hvdcore.runtime.terminal import write_fd

__all__ = ["Agent"]


class Agent:
    """Runs a command to its end, over as many jobs as that takes.

    Args:
        command: program and arguments; a trainer that starts with `start_run` resumes from its
            newest whole checkpoint, others read HVDCORE_RESTART.
        look: whether hosts are fit.
        start_ranks: on hosts that are.
    """

    def __init__(
        self,
        command: list[str],
        plan: Plan,
        settings: JobSettings,
        look: Callable[[Hosts], Fleet],
        start_ranks: StartRanks = start_with_horovodrun,
    ) -> None:
        self.command, self.plan, self.settings = command, plan, settings
        self.look, self.start_ranks = look, start_ranks
        self.membership = plan.membership
        self._starts = 0
        self._restarts = 0
        self._why = ""

    def run(self) -> int:
        """The exit code: that of the last job, or 1 when no job can be started any more.

        Raises:
            UserError: at the start, wrong input or too few hosts that are fit.
        """
        self.membership.list_hosts(self.plan.ask())
        with SignalInbox() as self._inbox:
            while True:
                found = self._gather()
                if isinstance(found, int):
                    return found
                team, fleet = found
                self._tell_start(team)
                code = self._judge(self._job(team, fleet), team)
                self._starts += 1
                if code is not None:
                    return code

    def _job(self, team: Team, fleet: Fleet) -> JobEnd:
        def start(watch: MembershipWatch | None) -> JobEnd:
            return run_job(
                self.command, team.np, fleet, self.settings, self._inbox,
                drain=(lambda: bool(watch.reason)) if watch else None, restart=self._starts,
                start_ranks=self.start_ranks,
            )  # fmt: skip

        if not self.plan.is_elastic:
            return start(None)
        with MembershipWatch(self.plan.ask, self.membership, team, self.look, self._say) as watch:
            end = start(watch)
        self._why = watch.reason
        return end

    def _judge(self, end: JobEnd, team: Team) -> int | None:
        """The exit code of the run, None where another job is to be started."""
        if end.asked:
            return end.code
        if end.code == EXIT_FAILED:
            return self._judge_failure(end, team)
        if end.code in STOP_CODES and end.drained:
            return None
        leaving = {team.hosts.host_of(rank) for rank in end.signaled}
        if (
            end.code in STOP_CODES
            and self.plan.is_elastic
            and 0 < len(leaving) < len(team.hosts.slots)
        ):
            for name in leaving:
                self.membership.leaving(name, time.monotonic())
            self._why = f"{', '.join(sorted(leaving))} asked to stop"
            return None
        return end.code

    def _judge_failure(self, end: JobEnd, team: Team) -> int | None:
        if self._restarts >= self.plan.max_restarts:
            if self._restarts:
                self._say(f"giving up after {self._restarts} restarts (--max-restarts)")
            return EXIT_FAILED
        self._restarts += 1
        self._why = f"restart {self._restarts} of {self.plan.max_restarts}"
        for name in {team.hosts.host_of(rank) for rank in end.blamed}:
            self.membership.failed(name, time.monotonic(), answers=True)
        return None

    def _gather(self) -> tuple[Team, Fleet] | int:
        """A team whose hosts are all fit, or the exit code when none comes together in time."""
        if self._starts and self.plan.asks_again:
            self._list_again()
        deadline = time.monotonic() + self.plan.timeout
        problems: list[str] = []
        waits = False
        while True:
            team = self.membership.choose(time.monotonic())
            if team is not None:
                fleet = self.look(team.hosts)
                if not fleet.problems:
                    if self._starts == 0:
                        show_fleet(fleet)
                    return team, fleet
                problems += [line for lines in fleet.problems.values() for line in lines]
                self._leave_out(fleet, problems)
                continue
            self._require_hope(problems)
            if not waits:
                self._say(f"waiting at most {self.plan.timeout:g} s for hosts: too few to start")
            waits = True
            if time.monotonic() > deadline:
                self._say("giving up: not enough hosts (--elastic-timeout)")
                return EXIT_FAILED
            wait_readable([self._inbox.fd], POLL_SECONDS)
            number = self._inbox.take_stop_signal()
            if number is not None:
                return 128 + number
            self._list_again()

    def _leave_out(self, fleet: Fleet, problems: list[str]) -> None:
        if self._starts == 0 and not self.plan.is_elastic:
            raise UserError(*problems)
        for name, lines in fleet.problems.items():
            seconds = self.membership.failed(name, time.monotonic(), answers=False)
            self._say(f"{'; '.join(lines)} (left out for {seconds:g} s)")

    def _require_hope(self, problems: list[str]) -> None:
        """At the start, hosts that are wrong are the user's error; later they may come back."""
        if self._starts == 0 and (problems or not self.plan.asks_again):
            few = f"--min-np: too few usable slots for {self.membership.minimum} ranks"
            raise UserError(*problems, few)

    def _list_again(self) -> None:
        try:
            self.membership.list_hosts(self.plan.ask())
        except UserError as error:
            self._say(f"{error}; continuing with the previous hosts")

    def _tell_start(self, team: Team) -> None:
        if self._starts:
            where = f"with {team.np} ranks on {team.hosts}"
            self._say(f"{self._why}: resuming from the newest checkpoint {where}")

    def _say(self, text: str) -> None:
        write_fd(2, f"launcher: {text}\n".encode("utf-8", "backslashreplace"))
