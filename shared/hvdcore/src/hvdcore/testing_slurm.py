"""Owns a Slurm cluster for tests: Debian's own programs, on hosts of the test's, which refuse ssh."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hvdcore.testing_hosts import TestHost, TestNetwork, missing_for_hosts

__all__ = ["TestCluster", "missing_for_slurm"]

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
_SECONDS = 60.0
_CONTROLLER = "head"
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
MailProg={true}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
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
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"a Slurm cluster of a test needs {', '.join(missing)}"
    return missing_for_hosts()


class TestCluster:
    """A controller and nodes of `cpus` CPUs each, and two partitions: the jobs of `high` take the
    nodes of those of `low`, which go back into the queue. `folder` takes all state; use as a
    context."""

    __test__ = False

    def __init__(self, folder: Path, nodes: tuple[str, ...], cpus: int) -> None:
        self.folder, self.nodes, self.cpus = folder, nodes, cpus
        self.network = TestNetwork(folder / "network")
        self._conf = folder / "slurm.conf"

    def __enter__(self) -> TestCluster:
        self.network.__enter__()
        try:
            self._start()
        except BaseException:
            self.network.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.network.__exit__()

    def _start(self) -> None:
        text = _CONF.format(
            controller=_CONTROLLER, folder=self.folder, nodes=",".join(self.nodes), cpus=self.cpus,
            true=shutil.which("true"),
        )  # fmt: skip
        self._conf.write_text(text, encoding="utf-8")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._head = self.network.add(_CONTROLLER, "eth0", refuses=True)
        hosts = [self.network.add(name, "eth0", refuses=True) for name in self.nodes]
        munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
        files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munged += [f"--{option}={self.folder}/munge.{end}" for option, end in files.items()]
        self._daemon(self._head, *munged)
        self._wait(lambda: (self.folder / "munge.socket").exists())
        self._daemon(self._head, "slurmctld", "-D", "-f", str(self._conf))
        for host in hosts:
            self._daemon(host, "slurmd", "-D", "-f", str(self._conf), "-N", host.name)
        self._wait(lambda: self._states() == ["idle"])

    def _daemon(self, host: TestHost, *command: str) -> None:
        path = self.folder / f"{command[0]}-{host.name}.log"
        with path.open("wb") as log:
            # They end with their host.
            subprocess.Popen(
                [*host.inside(self.folder), *command],
                env=self._env({}), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def _env(self, env: Mapping[str, str]) -> dict[str, str]:
        path = f"{env.get('PATH') or os.environ['PATH']}:/usr/sbin"
        return {**env, "PATH": path, "SLURM_CONF": str(self._conf)}

    def _states(self) -> list[str]:
        return self.ask("sinfo", "-h", "-o", "%T", "-p", "low").split()

    def ask(self, *command: str, env: Mapping[str, str] | None = None, where: Path | None = None) -> str:
        """What a command of Slurm's prints on the controller's host; '' while that does not answer."""
        done = subprocess.run(
            [*self._head.inside(where or self.folder), *command],
            env=self._env(env or {}), capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.said = done.stderr
        return done.stdout.strip()

    def _wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _SECONDS
        while not done():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.1)

    def logs(self) -> str:
        """What the daemons have said."""
        return "\n".join(
            f"{path.name}: {path.read_text('utf-8', 'replace')}" for path in self.folder.glob("*.log")
        )
