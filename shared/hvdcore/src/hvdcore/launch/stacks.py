"""`hvdcore stacks RUN`: where every rank of a run stands, asked of the run while it goes on.

The launcher of a run is asked, which asks the ranks on all hosts. Its address is in the environment
of the run's own processes, which only their user can read. Without a launcher of ours, the ranks on
this host are signaled, and the answers read from their logs.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from hvdcore.errors import UserError
from hvdcore.launch.supervisor.channel import Message, connect
from hvdcore.launch.supervisor.processes import find_orphans
from hvdcore.launch.supervisor.stacks import StacksAnswer, catches_signal
from hvdcore.run.lock import RunLock
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.environment import MONITOR, SUPERVISED
from hvdcore.runtime.signals import wait_readable
from hvdcore.tracking.logs import rank_log_path

__all__ = ["print_stacks"]

_ANSWER_SECONDS = 20.0
_QUIET_SECONDS = 1.0
# What the processes of one job have in common under launchers that are not ours.
_JOB_VARIABLES = ("PMIX_NAMESPACE", "OMPI_MCA_orte_hnp_uri", "HOROVOD_GLOO_RENDEZVOUS_PORT")
_RANK_VARIABLES = ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")


@dataclass(frozen=True)
class _Target:
    """The run's process that was found, and the run's directory where one was given."""

    pid: int
    env: dict[str, str]
    run: Path | None


def print_stacks(run: str) -> int:
    """Print the stacks of every rank of a live run; they go into the ranks' logs too.

    Args:
        run: a run directory, or the id of a process: the launcher's or a rank's.

    Returns:
        0 when all ranks answered, else 1.

    Raises:
        UserError: no run is there that can be asked from this host.
    """
    target = _find(run)
    address = target.env.get(MONITOR)
    if address:
        return _ask_launcher(address)
    return _ask_directly(target)


def _find(run: str) -> _Target:
    path = Path(run)
    if run.isdecimal() and not path.exists():
        return _by_pid(int(run))
    RunDir.open(path)
    holder = RunLock(path).last_holder()
    if holder is None or holder.is_alive() is False:
        raise UserError(f"{run}: no run is training there; give the directory of one that runs")
    if holder.is_alive() is None:
        raise UserError(f"{run}: its rank 0 is {holder}; run hvdcore stacks on that host")
    return _Target(holder.pid, _environment(holder.pid, run), path)


def _by_pid(pid: int) -> _Target:
    """The process, or one below it that belongs to a job: the launcher itself has no address."""
    try:
        family = [pid, *(p.pid for p in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        raise UserError(f"{pid}: no such process; give the launcher's id or a rank's") from None
    for each in family:
        with contextlib.suppress(UserError):
            env = _environment(each, str(pid))
            if MONITOR in env:
                return _Target(each, env, None)
    raise UserError(
        f"{pid}: no job of hvdcore's launcher; give the launcher's process id or a rank's, or a"
        " run directory"
    )


def _environment(pid: int, run: str) -> dict[str, str]:
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UserError(
            f"{run}: process {pid} cannot be looked at ({error.strerror}); run hvdcore stacks as"
            " the user who started the run"
        ) from None
    return dict(item.partition("=")[::2] for item in raw.split("\0") if "=" in item)


def _ask_launcher(address: str) -> int:
    try:
        channel, token = connect(address)
    except OSError as error:
        raise UserError(
            f"launcher: it does not answer at its address ({error}); run hvdcore stacks on the"
            " launcher's host, while the run goes on"
        ) from None
    channel.send({"type": "ask-stacks", "token": token})
    deadline, shown = time.monotonic() + _ANSWER_SECONDS, 0
    with contextlib.closing(channel):
        while channel.open and time.monotonic() < deadline:
            wait_readable([channel.sock.fileno()], 0.5)
            for message in channel.receive():
                if message.get("type") == "done":
                    return _done(message, shown)
                _show(StacksAnswer.from_message(int(message["rank"]), message))
                shown += 1
    print("the launcher did not answer: the run has ended")
    return 1


def _done(message: Message, shown: int) -> int:
    missing = message.get("missing") or []
    if not shown and not missing:
        print("no rank has started yet, or all have ended")
        return 1
    for rank in missing:
        print(f"--- rank {rank}: no answer: its supervisor is stopped, or its host not reached")
    return 1 if missing else 0


def _show(answer: StacksAnswer) -> None:
    print("\n".join(answer.lines()))


def _ask_directly(target: _Target) -> int:
    """Signal the ranks on this host, and show what their logs gain by that."""
    assert target.run is not None
    asked = _ranks_here(target)
    logs = {rank: rank_log_path(target.run, rank) for rank in asked}
    before = {rank: _size(path) for rank, path in logs.items()}
    for pid in asked.values():
        os.kill(pid, signal.SIGUSR1)
    _wait_until_quiet(logs, before)
    for rank, path in sorted(logs.items()):
        text = _since(path, before[rank])
        print(f"--- rank {rank}, from {path}:\n{text}" if text else f"--- rank {rank}: no answer")
    size = _job_size(target.env)
    if size > len(asked):
        print(f"{size - len(asked)} more ranks are on other hosts, or cannot be asked: run hvdcore"
              " stacks there, or start with hvdcore launch or --np")  # fmt: skip
    return 0 if size == len(asked) and all(_since(logs[r], before[r]) for r in asked) else 1


def _ranks_here(target: _Target) -> dict[int, int]:
    """Rank to the process to signal: its supervisor, or the rank itself where it has none."""
    mark = next(((n, target.env[n]) for n in _JOB_VARIABLES if n in target.env), None)
    found: dict[int, int] = {}
    for pid in find_orphans(*mark) if mark else []:
        with contextlib.suppress(UserError):
            env = _environment(pid, str(target.run))
            rank = next((int(env[n]) for n in _RANK_VARIABLES if n in env), None)
            if rank is not None and SUPERVISED not in env and catches_signal(pid, signal.SIGUSR1):
                found.setdefault(rank, pid)
    if not found and catches_signal(target.pid, signal.SIGUSR1):
        found[0] = target.pid
    return found


def _job_size(env: dict[str, str]) -> int:
    names = ("HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS")
    text = next((env[name] for name in names if re.fullmatch(r"\d+", env.get(name, ""))), "1")
    return int(text)


def _wait_until_quiet(logs: dict[int, Path], before: dict[int, int]) -> None:
    """Until every log has grown and stopped growing, within bounds."""
    deadline, seen, since = time.monotonic() + _ANSWER_SECONDS / 2, before, time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.1)
        now = {rank: _size(path) for rank, path in logs.items()}
        if now != seen:
            seen, since = now, time.monotonic()
        grown = all(now[rank] > before[rank] for rank in logs)
        if grown and time.monotonic() - since > _QUIET_SECONDS:
            return


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _since(path: Path, size: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(size)
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
