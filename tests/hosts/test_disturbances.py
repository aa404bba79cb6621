"""Twenty disturbances at random moments: hosts die, are cut off, slowed, taken back, leave, join.

Every run ends by itself, and trains what the undisturbed one trains: to the bit where the number
of ranks stays the same, else up to rounding.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import mpi_problem
from hvdcore.testing.hosts import TestHost, TestNetwork
from hvdcore.testing.runs import Run, RunOnHosts
from textgen.testing import TINY, command, environment, train

pytestmark = [pytest.mark.ranks, pytest.mark.proof]
FLAGS = ("--max-steps", "400", "--eval-every", "400", "--checkpoint-every", "5", "--log-every", "1")
DISTURBANCES_A_RUN = 4
MPI = pytest.param(
    ("mpi", 1), marks=pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem()))
)


class Disturber:
    """Does something to a random host that takes part, but the first: there the launcher runs."""

    def __init__(self, run: RunOnHosts, draw: random.Random) -> None:
        self.run, self.draw = run, draw
        self.network = run.network
        self.listed = ["first"]
        self._number = 0
        self.network.add("first", "eth0")
        for _ in range(3):
            self.join()

    def join(self) -> None:
        """A new host."""
        self._number += 1
        name = f"host{self._number}"
        self.network.add(name, self.draw.choice(["eth0", "ens7"]))
        self.listed.append(name)
        self.run.list_hosts(*self.listed)

    def _other(self) -> TestHost:
        """One on which a rank runs."""
        while True:
            others = [self.network.hosts[name] for name in self.listed[1:]]
            taking_part = [
                host for host in others if host.processes("hvdcore.launch.supervisor.supervise")
            ]
            if taking_part:
                return self.draw.choice(taking_part)
            assert self.run.process.poll() is None, self.run.stderr()
            time.sleep(0.1)

    def _remove(self, host: TestHost) -> None:
        self.listed.remove(host.name)
        self.run.list_hosts(*self.listed)

    def power_off(self) -> None:
        """A host dies with all its processes; the script lists it for a while yet."""
        host = self._other()
        host.kill()
        self.join()
        time.sleep(self.draw.uniform(0, 5))
        self._remove(host)

    def cut_off(self) -> None:
        """A host is not heard of for longer than a job waits, and comes back."""
        host = self._other()
        host.cut_off()
        self.join()
        time.sleep(30)
        host.plug_in()

    def slow_down(self) -> None:
        """A host has a slow line for a while."""
        host = self._other()
        host.slow_down("1mbit")
        time.sleep(self.draw.uniform(2, 5))
        host.slow_down("1000mbit")

    def take_back(self) -> None:
        """A host is announced to leave, and leaves a moment later."""
        host = self._other()
        self.join()
        self.run.ask_to_stop(host)
        self._remove(host)
        time.sleep(10)
        host.kill()

    def leave(self) -> None:
        """A host is no longer listed."""
        host = self._other()
        self.join()
        self._remove(host)

    def disturb(self) -> str:
        """One of them, after a random while; its name."""
        time.sleep(self.draw.uniform(0, 2))
        kinds: list[Callable[[], None]] = [
            self.join, self.power_off, self.cut_off, self.slow_down, self.take_back, self.leave,
        ]  # fmt: skip
        kind = self.draw.choice(kinds)
        kind()
        return kind.__name__


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory, book: Path) -> Run:
    """Undisturbed, on two ranks of one host."""
    folder = tmp_path_factory.mktemp("long")
    return train(folder / "run", book, *FLAGS, "--np", "2", timeout=3600).check()


@pytest.mark.parametrize("most", [2, 3])
@pytest.mark.parametrize("how", [("gloo", 0), ("gloo", 2), MPI])
def test_a_run_outlives_its_hosts(
    tmp_path: Path, network: TestNetwork, book: Path, long_run: Run, how: tuple[str, int], most: int
) -> None:
    controller, seed = how
    path = tmp_path / "run"
    line = command("train", "--data", str(book), "--output-dir", str(path), *TINY, *FLAGS)
    training = RunOnHosts(network, tmp_path, path, line, environment(tmp_path / "cache"))
    disturber = Disturber(training, random.Random(10 * seed + most))
    options = ["--controller", controller, "--host-discovery-script", str(training.script)]
    options += ["--min-np", "2" if most == 2 else "1", "--max-np", str(most)]
    training.start(network.hosts["first"], *options, "--max-restarts", "20")
    made = []
    while len(made) < DISTURBANCES_A_RUN and training.wait_for_checkpoint():
        made.append(disturber.disturb())
    run = training.finish().check()
    starts = run.stderr.count("resuming from the newest checkpoint")
    print(f"{controller}, at most {most} ranks: {', '.join(made)}; started again {starts} times")
    assert len(made) == DISTURBANCES_A_RUN, (made, run.stderr)
    if most == 2:
        assert run.report["weights_sha256"] == long_run.report["weights_sha256"]
        assert run.losses("train") == long_run.losses("train")
    else:
        assert run.losses("train") == pytest.approx(long_run.losses("train"), rel=1e-3)
        assert run.losses("val") == pytest.approx(long_run.losses("val"), rel=1e-3)
