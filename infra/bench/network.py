"""Training over a network: hosts with one rank of one thread each, whose links are shaped.

A host is a set of kernel namespaces with a cable to a bridge; `tc` shapes both ends of each cable
between bursts, so the same processes are measured over every link. Jobs take turns.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from jobs import JOB, Job, Jobs
from network_work import new_model

from hvdcore.runtime.environment import prepare_environment
from hvdcore.runtime.world import World
from hvdcore.testing.hosts import TestHost, TestNetwork, missing_for_hosts

RANK = Path(__file__).with_name("network_rank.py")
LINKS = {
    "unshaped": ("", ""),
    "10 Gbit/s": ("10gbit", "2mb"),
    "1 Gbit/s": ("1gbit", "256kb"),
    "200 Mbit/s": ("200mbit", "64kb"),
}
"""Rate and burst for `tc tbf`. A delay would need `netem`, which not every kernel has."""
BYTES_PER_SECOND = {"10 Gbit/s": 1.25e9, "1 Gbit/s": 125e6, "200 Mbit/s": 25e6}
CASES = (
    (2, "paced", list(LINKS)),
    (4, "paced", ["1 Gbit/s"]),
    (2, "large", list(LINKS)),
    (2, "small", ["unshaped", "1 Gbit/s"]),
    (4, "large", ["1 Gbit/s"]),
)
"""Hosts, the model, and links."""
QUEUE = "20ms"
BURST_SECONDS = 4.0
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PORT = 29500


@dataclass
class HostsJob(Job):
    """A job whose ranks run on hosts; between its turns the ranks are stopped, but not the
    launcher that watches them."""

    hosts: Sequence[TestHost] = field(default=())
    program: Path = RANK

    def wake(self) -> None:
        # A stopped rank's nsenter has stopped itself, and would never see the rank's end.
        self._each_of(psutil.Process.resume, (str(self.program), "nsenter"))

    def sleep(self) -> None:
        self._each_of(psutil.Process.suspend, (str(self.program),))

    def _each_of(self, do: Callable[[psutil.Process], None], of: Sequence[str]) -> None:
        # What was started from here, and what ssh servers have started.
        if self.process is None:
            return
        for parent in (self.process.pid, *(host.pid for host in self.hosts)):
            for process in psutil.Process(parent).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    mine = process.environ().get(JOB) == self.name
                    if mine and any(word in of for word in process.cmdline()[:2]):
                        do(process)


def measure(rounds: int) -> dict[str, Any]:
    """By `<hosts> hosts, <model>` and link: milliseconds a step of each job; or why it cannot."""
    if reason := missing_for_hosts():
        return {"skipped": reason}
    found: dict[str, Any] = {}
    for size, name, links in CASES:
        with _started(size, name) as (network, jobs, names):
            for link in links:
                shape(network, link)
                key = f"{size} hosts, {name}"
                figures = _measure(jobs, names, rounds, f"{key}, {link}")
                figures["limit_ms_a_step"] = _limits(figures["ms_a_step"], size, name, link)
                found.setdefault(key, {})[link] = figures
    return found


def _limits(milliseconds: Mapping[str, float], size: int, name: str, link: str) -> dict[str, float]:
    """A lower bound of a step's milliseconds: the compute time of ranks that exchange nothing, or
    the time of the bytes that a link carries in each direction."""
    numel = sum(parameter.numel() for parameter in new_model(name).parameters())
    sent = 2 * (size - 1) / size * 4 * numel
    wire = 1e3 * sent / BYTES_PER_SECOND[link] if link in BYTES_PER_SECOND else 0.0
    return {
        job: max(milliseconds["apart"], wire / 2 if "16_bit" in job else wire)
        for job in milliseconds
    }


def shape(network: TestNetwork, link: str) -> None:
    """Set the speed of every cable."""
    rate, burst = LINKS[link]
    for host in network.hosts.values():
        host.unlimit()
        if rate:
            host.limit(rate, burst, QUEUE)


@contextlib.contextmanager
def _started(size: int, name: str) -> Iterator[tuple[TestNetwork, Jobs, list[str]]]:
    with hosts_of(size) as network:
        made = _jobs(network, name)
        with Jobs(made) as jobs:
            yield network, jobs, [job.name for job in made]


@contextlib.contextmanager
def hosts_of(size: int) -> Iterator[TestNetwork]:
    """A network of so many hosts, host1, host2, ..."""
    with (
        tempfile.TemporaryDirectory() as folder,
        TestNetwork(Path(folder) / "network") as network,
    ):
        for number in range(size):
            network.add(f"host{number + 1}", "eth0")
        yield network


def environments(network: TestNetwork) -> tuple[dict[str, str], dict[str, str]]:
    """What the ranks of any program get; and the settings of malloc that our launcher adds."""
    plain = {
        key: value
        for key, value in os.environ.items()
        if key not in THREADS and not key.startswith("MALLOC_")
    }
    plain["PATH"] = network.path
    prepared = dict(plain)
    prepare_environment(World(0, 1, 0, 1, "none"), prepared)
    return plain, {key: value for key, value in prepared.items() if key.startswith("MALLOC_")}


def _jobs(network: TestNetwork, name: str) -> list[Job]:
    plain, malloc = environments(network)
    made = [
        launched(network, plain, f"ours_{controller}{suffix}", controller, name, "ours", dtype)
        for controller in ("gloo", "mpi")
        for suffix, dtype in (("", "float32"), ("_16_bit", "bfloat16"))
    ]
    made.append(launched(network, plain, "horovod_gloo", "gloo", name, "horovod", "float32"))
    for number, (title, kind, dtype, env) in enumerate((
        ("ddp", "ddp", "float32", {}),
        ("ddp_our_environment", "ddp", "float32", malloc),
        ("ddp_16_bit", "ddp", "float16", {}),
        ("fsdp", "fsdp", "float32", {}),
        ("apart", "apart", "float32", malloc),
    )):  # fmt: skip
        made.append(by_hand(network, {**plain, **env}, title, name, kind, dtype, PORT + number))
    return made


def launched(
    network: TestNetwork, env: Mapping[str, str], title: str, controller: str, *args: str,
    program: Path = RANK, ranks: int = 1,
) -> Job:  # fmt: skip
    """Started on the first host by `hvdcore launch`."""
    hosts = list(network.hosts.values())
    line = [
        *hosts[0].inside(RANK.parent), sys.executable, "-m", "hvdcore", "launch",
        "--controller", controller, "--hosts", ",".join(f"{host.name}:{ranks}" for host in hosts),
        "--stall-timeout", "3600", sys.executable, str(program), *args,
    ]  # fmt: skip
    threads = dict.fromkeys(THREADS, "1")
    size = ranks * len(hosts)
    return HostsJob(title, line, size, {**env, **threads}, hosts=hosts, program=program)


def by_hand(
    network: TestNetwork, env: Mapping[str, str], title: str, *args: str | int,
    program: Path = RANK, ranks: int = 1,
) -> Job:  # fmt: skip
    """Each rank started on its host with the variables that `torchrun` would give it."""
    *words, port = map(str, args)
    hosts = list(network.hosts.values())
    size = ranks * len(hosts)
    script = " & ".join(
        f"RANK={rank} LOCAL_RANK={rank % ranks} exec_on {hosts[rank // ranks].pid}"
        f" {sys.executable} {program} {' '.join(words)}"
        for rank in range(size)
    )
    enter = 'exec_on() { P=$1; shift; nsenter --target=$P --net --pid --mount --uts "$@"; }'
    settings = {
        "MASTER_ADDR": hosts[0].address, "MASTER_PORT": port, "WORLD_SIZE": str(size),
        "GLOO_SOCKET_IFNAME": "eth0", **dict.fromkeys(THREADS, "1"),
    }  # fmt: skip
    line = ["sh", "-c", f"{enter}; cd {RANK.parent}; {script}; wait"]
    return HostsJob(title, line, size, {**env, **settings}, hosts=hosts, program=program)


def _measure(jobs: Jobs, names: Sequence[str], rounds: int, title: str) -> dict[str, Any]:
    steps = {name: _num_steps(jobs[name]) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    waited: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        print(f"network {title}: round {number + 1} of {rounds}", file=sys.stderr)
        for index in range(len(names)):
            name = names[(index + number) % len(names)]
            answers = jobs[name].run(steps=steps[name])
            seconds[name].append(max(a["seconds"] for a in answers) / steps[name])
            waited[name].append(min(a["waited"] for a in answers) / steps[name])
            cpu[name].append(max(a["cpu_seconds"] for a in answers) / steps[name])
    return {
        "ms_a_step": {name: 1e3 * statistics.median(times) for name, times in seconds.items()},
        "waited_ms_a_step": {name: 1e3 * statistics.median(t) for name, t in waited.items()},
        "cpu_ms_a_step": {name: 1e3 * statistics.median(t) for name, t in cpu.items()},
        "against_ddp": {
            name: _ratio(seconds[name], seconds["ddp_16_bit" if "16_bit" in name else "ddp"])
            for name in names
        },
        "against_apart": {name: _ratio(seconds[name], seconds["apart"]) for name in names},
    }


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _num_steps(job: Job) -> int:
    """Steps of a burst, by a first one."""
    answers = job.run(steps=1)
    return max(2, round(BURST_SECONDS / max(answer["seconds"] for answer in answers)))
