"""A Slurm cluster for tests: Slurm's own programs on test hosts, and trainings as its jobs."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from hvdcore.testing.hosts import TestHost, TestNetwork, missing_for_hosts
from hvdcore.testing.runs import Run, run_command

__all__ = [
    "SlurmRun",
    "TestCluster",
    "missing_for_cgroups",
    "missing_for_slurm",
]

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
_START_SECONDS = 60.0
_JOB_SECONDS = 600.0
_CONTROLLER = "head"
_FREEZER = Path("/sys/fs/cgroup/freezer")
# pgid signals little more than what Slurm itself has started, as the usual cgroup does, which
# needs more of the machine than a test may take. A busy machine has KillWait to save.
_CONF = """
ClusterName=test
SlurmctldHost={controller}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdParameters=config_overrides
TmpFS={folder}/tmp-%n
MailProg={true}
KillWait=120
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={nodes} CPUs={cpus}
PartitionName=low Nodes=ALL Default=YES PriorityTier=1
PartitionName=high Nodes=ALL PriorityTier=2
"""


def missing_for_slurm() -> str:
    """Why there can be no such cluster here, '' when there can."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"a Slurm cluster of a test needs {', '.join(missing)}"
    return missing_for_hosts()


def missing_for_cgroups() -> str:
    """Why Slurm cannot hold a job in a cgroup here, '' when it can."""
    return "" if os.access(_FREEZER, os.W_OK) else f"cgroups of a test need a writable {_FREEZER}"


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"


class TestCluster:
    """A controller, nodes, and two partitions: jobs of `high` take the nodes of those of `low`,
    which go back to the queue. Use as a context.

    Args:
        folder: takes all state.
        nodes: their names.
        cpus: of each.
        proctrack: Slurm's way to know a job's processes.
    """

    __test__ = False

    def __init__(
        self, folder: Path, nodes: Sequence[str], cpus: int, proctrack: str = "pgid"
    ) -> None:
        self.folder, self.nodes = folder, nodes
        self.network = TestNetwork(folder / "network")
        self._conf = folder / "slurm.conf"
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._text = _CONF.format(
            controller=_CONTROLLER, folder=folder, nodes=",".join(nodes), cpus=cpus,
            true=shutil.which("true"), proctrack=proctrack,
        )  # fmt: skip

    def __enter__(self) -> TestCluster:
        self.network.__enter__()
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.network.__exit__()
        for daemon in self._daemons:
            daemon.wait()
        for name in self.nodes:
            for left, _, _ in os.walk(_FREEZER / f"slurm_{name}", topdown=False):
                os.rmdir(left)

    def _start(self) -> None:
        self._conf.write_text(self._text, encoding="utf-8")
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n", encoding="utf-8")
        for name in self.nodes:
            (self.folder / f"tmp-{name}").mkdir()
        self.head = self.network.add(_CONTROLLER, "eth0", refuses=True)
        hosts = [self.network.add(name, "eth0", refuses=True) for name in self.nodes]
        self._start_munge()
        self._daemon(self.head, "slurmctld", "-D", "-f", str(self._conf))
        for host in hosts:
            self._daemon(host, "slurmd", "-D", "-f", str(self._conf), "-N", host.name)
        states = ("sinfo", "--noheader", "--format=%T", "--partition=low")
        self._wait(lambda: self._run(*states).stdout.split() == ["idle"], _START_SECONDS)

    def _start_munge(self) -> None:
        """One daemon for all hosts: its socket is a file."""
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={self.folder}/munge.{end}" for option, end in files.items()]
        self._daemon(self.head, "munged", "--foreground", "--force", f"--key-file={key}", *options)
        self._wait((self.folder / "munge.socket").exists, _START_SECONDS)

    def _daemon(self, host: TestHost, *command: str) -> None:
        """Start one, which ends with its host."""
        with (self.folder / f"{command[0]}-{host.name}.log").open("wb") as log:
            daemon = subprocess.Popen(
                [*host.inside(self.folder), *command],
                env=self._env({}), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._daemons.append(daemon)

    def _env(self, env: Mapping[str, str]) -> dict[str, str]:
        return {**env, "PATH": env.get("PATH", _path()), "SLURM_CONF": str(self._conf)}

    def _run(
        self, *command: str, env: Mapping[str, str] | None = None, where: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.head.inside(where or self.folder), *command],
            env=self._env(env or {}), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    def ask(
        self, *command: str, env: Mapping[str, str] | None = None, where: Path | None = None
    ) -> str:
        """What a command of Slurm's, which has to succeed, prints on the controller's host."""
        done = self._run(*command, env=env, where=where)
        assert done.returncode == 0, f"{command}: {done.stderr}{self.logs()}"
        return done.stdout.strip()

    def missing_for_pmix(self) -> str:
        """Why srun cannot start ranks of MPI here, '' when it can."""
        said = self._run("srun", "--mpi=pmix", "true").stderr.splitlines()
        return f"this Slurm cannot load PMIx: {said[0]}" if said else ""

    def submit(
        self, *words: str, env: Mapping[str, str] | None = None, where: Path | None = None
    ) -> str:
        """A new job's number.

        Args:
            words: options of sbatch and the script.
            env: which the job gets.
            where: the folder in which it runs.
        """
        return self.ask("sbatch", "--parsable", *words, env=env, where=where)

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job: JobState, Restarts, ExitCode and so on."""
        text = self.ask("scontrol", "--oneliner", "show", "job", number)
        return {name: value for name, _, value in (word.partition("=") for word in text.split())}

    def wait_for(self, number: str, state: str, restarts: int = 0) -> dict[str, str]:
        """Until a job is in a state, after so many restarts. Returns what Slurm knows of it."""
        wanted = {"JobState": state, "Restarts": str(restarts)}
        self.wait_until(number, lambda: wanted.items() <= self.job(number).items())
        return self.job(number)

    def wait_until(self, number: str, done: Callable[[], bool]) -> None:
        """Until something is so that a job brings about, which must not fail."""
        ask_at = 0.0

        def look() -> bool:
            nonlocal ask_at
            if done():
                return True
            if time.monotonic() > ask_at:
                ask_at = time.monotonic() + 1.0
                job = self.job(number)
                assert job["JobState"] != "FAILED", f"{job}"
            return False

        self._wait(look, _JOB_SECONDS)

    def start_soon(self, number: str) -> None:
        """A job that was queued again need not wait its two minutes. A few seconds it must: the
        nodes refuse a job whose leave to start is no newer than the order that ended it."""
        self.ask("scontrol", "update", f"JobId={number}", "StartTime=now+5")

    def _wait(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.02)

    def logs(self) -> str:
        """What the daemons have said."""
        logs = {path.name: path.read_text("utf-8", "replace") for path in self.folder.glob("*.log")}
        return "\n".join(f"{name}:\n{text}" for name, text in logs.items())


_WRITE_SECONDS = 60.0


class SlurmRun:
    """A trainer's command as a job.

    Args:
        folder: in which the job runs; takes what it prints.
        output_dir: the run directory that the command writes.
        command: the trainer's.
        env: its environment.
    """

    def __init__(
        self,
        cluster: TestCluster,
        folder: Path,
        output_dir: Path,
        command: Sequence[str],
        env: Mapping[str, str],
    ) -> None:
        self.cluster, self.folder, self.path = cluster, folder, output_dir
        self.command, self.env = list(command), env

    def write_script(self, *options: str) -> Path:
        """The script, with these options of `hvdcore slurm`."""
        script = self.folder / "job.sh"
        slurm = [sys.executable, "-m", "hvdcore", "slurm", "--output", str(script), *options]
        run_command(self.path, [*slurm, "--", *self.command], self.env, _WRITE_SECONDS).check()
        return script

    def submit(self, *words: str) -> str:
        """The number of a new job, of these options of sbatch and this script."""
        return self.cluster.submit(*words, env=self.env, where=self.folder)

    def wait_for_checkpoint(self, number: str) -> None:
        """Until a job has saved one."""
        found = (self.path / "checkpoints").glob
        self.cluster.wait_until(number, lambda: any(found("step-*")))

    def signal_ranks(self, number: signal.Signals) -> None:
        """Stop the ranks where they are, or let them go on: a job then lasts as long as wanted."""
        for process in self._ranks():
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)

    def wait_for_order(self, number: str) -> None:
        """Until ranks that stand still have been told to save and stop."""

        def is_told() -> bool:
            with contextlib.suppress(OSError):  # a process that has just ended
                return any(map(_is_told_to_stop, self._ranks()))
            return False

        self.cluster.wait_until(number, is_told)

    def _ranks(self) -> list[psutil.Process]:
        start = ["-m", self.command[0].replace("-", "_"), *self.command[1:2]]
        found = []
        for host in self.cluster.network.hosts.values():
            for process in psutil.Process(host.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if process.cmdline()[1:4] == start:
                        found.append(process)
        return found

    def said(self, number: str) -> str:
        """What a job has printed so far, over all its restarts."""
        return (self.folder / f"slurm-{number}.out").read_text("utf-8")

    def finish(self, number: str, restarts: int = 0) -> Run:
        """Wait for a job's good end."""
        end = self.cluster.wait_for(number, "COMPLETED", restarts)
        return Run(self.path, int(end["ExitCode"].split(":")[0]), "", self.said(number))

    def finish_restarted(self, number: str) -> Run:
        """Let a job that has stood still save and be queued again, and wait for its good end."""
        self.signal_ranks(signal.SIGCONT)
        self.cluster.wait_for(number, "PENDING", restarts=1)
        assert not (self.path / "report.json").exists()
        self.cluster.start_soon(number)
        run = self.finish(number, restarts=1)
        assert len(re.findall(r"resuming from step (\d+) ", run.stderr)) == 1, run.stderr
        return run


def _is_told_to_stop(process: psutil.Process) -> bool:
    """Whether SIGTERM waits for a process that stands still (man proc_pid_status)."""
    status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
    waiting = [line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:")]
    return bool(int(waiting[0], 16) >> (signal.SIGTERM - 1) & 1)
