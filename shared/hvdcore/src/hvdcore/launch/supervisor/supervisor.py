"""The supervisor of one rank: starts its work, watches it, ends it, reports how it ended.

Where no launcher of ours watches (plain horovodrun or mpirun), a supervisor that was stopped by a
signal would be waited for indefinitely once the work is done. There the supervisor with the lowest
local rank that runs looks after the others on its host.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from hvdcore.errors import EXIT_USER_ERROR
from hvdcore.launch.hosts.network import interface_settings
from hvdcore.launch.supervisor.channel import LauncherConnection
from hvdcore.launch.supervisor.outcome import EXIT_FAILED, Finding, RankEnd, Watch, read_outcome
from hvdcore.launch.supervisor.output import RankLog, RankOutput
from hvdcore.launch.supervisor.processes import RankProcess, find_orphans, process_state
from hvdcore.launch.supervisor.stacks import RankStacks, StacksAnswer
from hvdcore.runtime.affinity import bound
from hvdcore.runtime.environment import (
    HEARTBEAT,
    LOG_DIR,
    SUPERVISED,
    prepare_environment,
    stall_timeout,
)
from hvdcore.runtime.heartbeat import HeartbeatPage
from hvdcore.runtime.process_limit import advice, is_reached
from hvdcore.runtime.signals import SAME_SIGNAL_SECONDS, SignalInbox
from hvdcore.runtime.terminal import write_fd
from hvdcore.runtime.world import World, world_from_environment

__all__ = [
    "PeerSupervisors",
    "Supervisor",
]

FUNCTION_RANK = "hvdcore.launch.function_rank"
"""The module that calls a function of `hvdcore.launch.run` on a rank."""
# What the processes of one job, and no others, have in common under each launcher.
_JOB_VARIABLES = ("PMIX_NAMESPACE", "OMPI_MCA_orte_hnp_uri", "HOROVOD_GLOO_RENDEZVOUS_PORT")
_LOOK_SECONDS = 5.0


def _environment(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        raw = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "surrogateescape")
        return dict(item.partition("=")[::2] for item in raw.split("\0") if "=" in item)
    return {}


class PeerSupervisors:
    """Finds supervisors of this job on this host that have been stopped for longer than `timeout`
    seconds. Times are seconds of a monotonic clock."""

    def __init__(self, world: World, env: Mapping[str, str], timeout: float) -> None:
        self.world = world
        self.timeout = timeout
        self._mark = next(((n, env[n]) for n in _JOB_VARIABLES if n in env), None)
        self._looked_at = 0.0
        self._stopped_since: dict[int, float] = {}

    def end_stopped(self, now: float) -> list[int]:
        """SIGKILL such supervisors, so that the launcher ends the job. Returns their ranks."""
        if self._mark is None or now - self._looked_at < min(_LOOK_SECONDS, self.timeout / 4):
            return []
        self._looked_at = now
        stopped = [p for p in find_orphans(*self._mark) if process_state(p) in ("T", "t")]
        since = {pid: self._stopped_since.get(pid, now) for pid in stopped}
        self._stopped_since = since
        late = [pid for pid in stopped if now - since[pid] > self.timeout]
        return [rank for pid in late if (rank := self._end(pid)) is not None]

    def _end(self, pid: int) -> int | None:
        env = _environment(pid)
        if SUPERVISED in env:  # the rank's work: its own supervisor sees to it
            return None
        with contextlib.suppress(ValueError, OSError):
            theirs = world_from_environment(env)
            if theirs.size != self.world.size or theirs.rank == self.world.rank:
                return None
            if self.world.local_rank == (1 if theirs.local_rank == 0 else 0):
                os.kill(pid, signal.SIGKILL)
                return theirs.rank
        return None


_TICK_SECONDS = 0.25
# A rank that was asked to stop but waits for one that has exited never reaches a step boundary.
_STUCK_AFTER_STOP_SECONDS = 30.0
# Without a launcher of ours: ranks fail together, and the one to blame is to speak first.
_VICTIM_WAITS_SECONDS = 5.0
_INPUT_ERROR_WAITS_SECONDS = 1.0
_RELEASE_WAITS_SECONDS = 30.0
# The launcher's own bound for the stacks of all ranks is shorter.
_STACKS_SECONDS = 20.0


class Supervisor:
    """Runs one command as the work of the rank that `world` describes."""

    def __init__(self, world: World, line: LauncherConnection) -> None:
        self.world = world
        self.line = line
        folder = os.environ.get(LOG_DIR)
        self.log = RankLog(world.rank, Path(folder) if folder else None)
        self.out, self.err = (
            RankOutput(world.rank, self.log, partial(line.show, fd)) for fd in (1, 2)
        )
        self.timeout = stall_timeout(os.environ)
        self.peers = PeerSupervisors(world, os.environ, self.timeout)
        self.finding: Finding | None = None
        self.stop_signal: int | None = None
        self._signaled = False
        self._stop_at = 0.0
        self._asked_at: dict[str, float] = {}
        self._cut_short = False
        self._found_at: float | None = None

    def run(self, command: list[str]) -> int:
        """Run the command to its end; the exit code is 0, 1, 2, 130 or 143."""
        with SignalInbox() as self.inbox:
            self.page = HeartbeatPage()
            self.stacks = RankStacks(self.world.rank)
            try:
                end = self._work(command)
                if FUNCTION_RANK not in command:  # whose caller has no --log-dir
                    self._tell_of_hidden_lines(end)
                self.line.send_end(replace(end, signaled=self._signaled))
                self._wait_for_the_others(end)
                if self.world.is_root:
                    self.line.clean_up_for_launcher()
            finally:
                self.page.close()
                self.stacks.close()
                keep = self.finding is not None or not self._cut_short
                self.log.close(keep=keep and end.code == EXIT_FAILED)
            return end.code

    def _tell_of_hidden_lines(self, end: RankEnd) -> None:
        """What rank 1 printed goes with its temporary log; once, it says so for all ranks."""
        count = self.out.num_hidden + self.err.num_hidden
        if self.world.rank == 1 and self.log.is_temporary and end.code == 0 and count:
            lines = f"{count} line{'s' * (count > 1)}"
            text = f"[rank 1] printed {lines} more; --log-dir DIR keeps what every rank prints\n"
            self.line.show(2, text.encode())

    def _work(self, command: list[str]) -> RankEnd:
        env = dict(os.environ)
        prepare_environment(self.world, env)
        env.update(interface_settings(env))
        env.update({SUPERVISED: "1", HEARTBEAT: self.page.path, "PYTHONUNBUFFERED": "1"})
        env.update(self.stacks.file.variables)
        try:
            with bound(self.world, env):
                process = RankProcess(command, env, at_terminal=self.world.is_root)
        except OSError as error:
            reason = advice() if is_reached(error) else f"cannot be started ({error.strerror})"
            line = f"error: {command[0]}: {reason}\n"
            self.err.feed(line.encode("utf-8", "backslashreplace"))
            return self._end(EXIT_USER_ERROR)
        try:
            return self._end(self._watch_to_end(process))
        finally:
            process.close()

    def _watch_to_end(self, process: RankProcess) -> int:
        pipes = {process.stdout_fd: self.out, process.stderr_fd: self.err}
        watch = Watch(self.timeout, alone=self.line.channel is None, now=time.monotonic())
        with selectors.DefaultSelector() as selector:
            selector.register(self.inbox.fd, selectors.EVENT_READ)
            if self.line.channel is not None:
                selector.register(self.line.channel.sock, selectors.EVENT_READ)
            for fd in pipes:
                selector.register(fd, selectors.EVENT_READ)
            while (code := process.poll()) is None:
                self._pass_on_output(selector, pipes)
                self._control(process)
                self._look(process, watch)
        process.kill()
        for fd, output in pipes.items():
            while raw := _read(fd):
                output.feed(raw)
            output.finish()
        return code

    def _pass_on_output(
        self, selector: selectors.BaseSelector, pipes: dict[int, RankOutput]
    ) -> None:
        ready = {key.fd for key, _ in selector.select(_TICK_SECONDS)}
        if self.line.is_clogged:
            time.sleep(_TICK_SECONDS / 10)
            return
        for fd in ready & pipes.keys():
            raw = _read(fd)
            if raw:
                pipes[fd].feed(raw)
            elif raw == b"":
                selector.unregister(fd)
        if not ready:
            self.out.pause()
            self.err.pause()

    def _control(self, process: RankProcess) -> None:
        """Signals and the launcher's orders."""
        self.line.listen()
        orders = self.line.orders
        own = self.inbox.take_stop_signal()
        self._signaled |= own is not None and self.stop_signal is None and not orders.stop_signals
        for number in orders.stop_signals:
            self._stop(process, number, "launcher")
        orders.stop_signals.clear()
        if self.inbox.take_stacks_request() or orders.stacks:
            orders.stacks = False
            self._ask_for_stacks(process)
        if own is not None:
            self._stop(process, own, "host")
        if orders.abort:
            self._cut_short = True
            process.kill()

    def _stop(self, process: RankProcess, number: int, who: str) -> None:
        """Let the rank save and stop; asked again by the same one, end it. A machine that is taken
        back tells its ranks, and the launcher may do so as well once it is no longer listed."""
        now = time.monotonic()
        first_at = self._asked_at.setdefault(who, now)
        if self.stop_signal is None:
            beat = self.page.read()
            self.stop_signal, self._stop_at = number, now
            process.signal(number, beat.pid if beat.number else None)
        elif now - first_at > SAME_SIGNAL_SECONDS:
            self._cut_short = True
            process.kill()

    def _look(self, process: RankProcess, watch: Watch) -> None:
        now = time.monotonic()
        beat = self.page.read()
        state = process_state(process.pid)
        if beat.number and beat.pid != process.pid and state not in ("T", "t"):
            state = process_state(beat.pid)
        self.finding = self.finding or watch.look(beat, state, now)
        answer = self.stacks.poll(self._working_pid(process), beat, self.page.collective(), now)
        if answer is not None:
            self._tell_stacks(answer)
        self.line.report(watch, str(self.log.path), now)
        self._follow_log()
        if self.line.channel is None:
            for rank in self.peers.end_stopped(now):
                log = self.log.path.with_name(f"rank-{rank}.log")
                reason = f"was stopped by a signal for more than {self.timeout:g} s"
                write_fd(
                    2,
                    f"rank {rank}: its supervisor {reason} (log: {log})\n".encode(
                        "utf-8", "backslashreplace"
                    ),
                )
        if self.finding is not None:
            self._end_after_stacks(process, now)
        elif self.stop_signal is not None and now - self._stop_at > min(
            self.timeout, _STUCK_AFTER_STOP_SECONDS
        ):
            waits = beat.number == 0 or beat.phase == "communicate"
            if waits and watch.idle_seconds(now) > min(self.timeout, _STUCK_AFTER_STOP_SECONDS):
                self._cut_short = True
                process.kill()

    def _working_pid(self, process: RankProcess) -> int:
        """The process that gives the heartbeat, which a shell script may have started."""
        beat = self.page.read()
        return beat.pid if beat.number else process.pid

    def _ask_for_stacks(self, process: RankProcess) -> None:
        pid, beat, name = self._working_pid(process), self.page.read(), self.page.collective()
        self.stacks.ask(pid, beat, name, time.monotonic())

    def _tell_stacks(self, answer: StacksAnswer) -> None:
        """Into the log, and to the launcher, which may wait for them."""
        text = "\n".join(answer.lines())
        self.log.write(f"{text}\n".encode("utf-8", "replace"))
        if self.line.channel is not None:
            self.line.channel.send(answer.as_message())

    def _end_after_stacks(self, process: RankProcess, now: float) -> None:
        """A rank is given up: ended once its stacks, and those of all others, are in the logs.

        The others would fail as soon as it is gone, and show nothing of what they waited for.
        """
        if self._found_at is None:
            self._found_at = now
            self.line.orders.stacks_taken = False
            if self.line.channel is None:
                self._ask_for_stacks(process)
            else:
                self.line.channel.send({"type": "given-up"})
            return
        alone = self.line.channel is None and not self.stacks.is_asked
        late = now - self._found_at > _STACKS_SECONDS
        if alone or late or self.line.orders.stacks_taken:
            process.kill()

    def _follow_log(self) -> None:
        path = self.page.log_path()
        if path is not None and not os.environ.get(LOG_DIR):
            self.log.move_to(path)

    def _end(self, code: int) -> RankEnd:
        self._follow_log()
        rank, log = self.world.rank, str(self.log.path)
        if self.finding is not None:
            return RankEnd(rank, EXIT_FAILED, self.finding.kind, self.finding.reason, log)
        if self._cut_short:
            code = 128 + self.stop_signal if self.stop_signal else EXIT_FAILED
            return RankEnd(rank, code, "victim", "was ended because another rank failed", log)
        return read_outcome(
            rank,
            code,
            self.err.tail,
            log=log,
            asked_to_stop=self.stop_signal,
            errors=self.err.errors,
        )

    def _wait_for_the_others(self, end: RankEnd) -> None:
        """Leave when the launcher says so; where there is none, tell the user, if it is for us."""
        if self.line.channel is not None:
            self._wait(_RELEASE_WAITS_SECONDS)
        elif end.is_failure or (end.kind == "victim" and self._wait(_VICTIM_WAITS_SECONDS)):
            write_fd(2, (end.line() + "\n").encode("utf-8", "backslashreplace"))
        elif end.errors and self._wait(_INPUT_ERROR_WAITS_SECONDS):
            text = "".join(f"[rank {end.rank}] {line}\n" for line in end.errors)
            write_fd(2, text.encode("utf-8", "backslashreplace"))

    def _wait(self, seconds: float) -> bool:
        """True when the time passed without a signal or the launcher's word."""
        if self._cut_short and self.line.channel is None:
            return False
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.line.listen()
            if self.line.orders.release or self.inbox.take_stop_signal() is not None:
                return False
            time.sleep(_TICK_SECONDS / 10)
        return True


def _read(fd: int) -> bytes | None:
    """What is there: b'' at the end of the stream, None when there is nothing now."""
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return None
    except OSError:  # how a terminal says that nobody holds its other end
        return b""
