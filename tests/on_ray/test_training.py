"""Trainings on a Ray cluster whose nodes die: they end as if nothing had happened."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hvdcore.launch.supervisor.processes import find_orphans
from hvdcore.testing.ray import TestCluster
from hvdcore.testing.runs import Run, WatchedRun, ranks_environment, run_command
from news_cls.testing import TINY as TINY_NEWS
from textgen.testing import TINY, command, write_book

pytest.importorskip("ray", reason="the extra hvdcore[ray] is not installed")
pytestmark = pytest.mark.ranks
STEPS = ("--eval-every", "40", "--log-every", "1")
MARK = "HVDCORE_TEST_ON_RAY"


@pytest.fixture(scope="module")
def raylets() -> Iterator[TestCluster]:
    with TestCluster(3) as cluster:
        yield cluster


@pytest.fixture
def cluster(raylets: TestCluster) -> TestCluster:
    """Two nodes that a training takes, and one to spare."""
    while len(raylets.nodes) < 3:
        raylets.add()
    return raylets


class Training:
    """A trainer's command line, undisturbed on this machine or on Ray while nodes die."""

    def __init__(self, folder: Path, line: list[str]) -> None:
        self.folder, self.line = folder, line
        own = {"TEXTGEN_CACHE": str(folder / "cache"), MARK: folder.name}
        self.env = ranks_environment(own)

    def undisturbed(self) -> Run:
        """Over Gloo, as ranks on Ray talk."""
        path = self.folder / "undisturbed"
        launch = [sys.executable, "-m", "hvdcore", "launch", "--controller", "gloo", "--np", "2"]
        line = [*launch, *self.line, "--output-dir", str(path)]
        return run_command(path, line, self.env, 900).check()

    def start(self, name: str, cluster: TestCluster, *options: str) -> WatchedRun:
        run = WatchedRun(self.folder, self.folder / name, self.env)
        on_ray = ["--ray", cluster.address, "--max-restarts", "9", *options]
        run.run_line([*self.line, "--output-dir", str(run.path), *on_ray])
        return run


def textgen(folder: Path, num_steps: int) -> Training:
    book = write_book(folder / "book.txt", num_words=2000)
    steps = ("--max-steps", str(num_steps), "--checkpoint-every", "2", *STEPS)
    return Training(folder, command("train", "--data", str(book), *TINY, *steps))


def node_of_a_rank(run: WatchedRun, cluster: TestCluster, draw: random.Random) -> str:
    """One that the last start has put a rank on."""
    lines = [line for line in run.stderr().splitlines() if " ranks on " in line]
    named = lines[-1] if lines else run.stderr()
    return draw.choice([name for name in cluster.nodes if name in named])


def test_a_node_dies_then_another(cluster: TestCluster, tmp_path: Path) -> None:
    """With a node to spare the weights are the same to the bit; with none, fewer ranks go on."""
    training = textgen(tmp_path, 40)
    undisturbed, going = training.undisturbed(), "resuming from the newest checkpoint with"
    run = training.start("spare", cluster, "--np", "2")
    assert run.wait_for_checkpoint()
    lost = node_of_a_rank(run, cluster, random.Random(0))
    cluster.kill(lost)
    ended = run.finish().check()
    says = [line for line in ended.stderr.splitlines() if line.startswith("launcher: ")]
    assert len(says) == 1
    assert says[0].startswith(f"launcher: restart 1 of 9: {going} 2 ranks on ")
    assert lost not in says[0]
    assert ended.report["weights_sha256"] == undisturbed.report["weights_sha256"]
    assert ended.losses("train") == undisturbed.losses("train")

    run = training.start("fewer", cluster, "--np", "2")
    assert run.wait_for_checkpoint()
    lost = node_of_a_rank(run, cluster, random.Random(0))
    cluster.kill(lost)
    ended = run.finish().check()
    assert f"launcher: --ray: node {lost} does not answer" in ended.stderr
    assert f"launcher: restart 1 of 9: {going} 1 ranks on {cluster.nodes[0]}:1" in ended.stderr
    assert ended.losses("train") == pytest.approx(undisturbed.losses("train"), rel=1e-3)
    assert ended.losses("val") == pytest.approx(undisturbed.losses("val"), rel=1e-3)
    assert find_orphans(MARK, tmp_path.name) == []


KILLS = 4


def keras(folder: Path, num_steps: int) -> Training:
    steps = ("--max-steps", str(num_steps), "--checkpoint-every", "2", *STEPS)
    line = [sys.executable, "-m", "news_cls", "train", "--data", "sample", *TINY_NEWS, *steps]
    return Training(folder, line)


@pytest.mark.proof
@pytest.mark.parametrize("trainer", [textgen, keras])
def test_nodes_die_again_and_again(
    trainer: Callable[[Path, int], Training], cluster: TestCluster, tmp_path: Path
) -> None:
    """A new node comes for each that dies, at a random moment."""
    training = trainer(tmp_path, 120)
    undisturbed = training.undisturbed()
    run, draw, killed = training.start("on-ray", cluster, "--np", "2"), random.Random(1), 0
    while killed < KILLS and run.wait_for_checkpoint():
        cluster.kill(node_of_a_rank(run, cluster, draw))
        cluster.add()
        killed += 1
    ended = run.finish().check()
    assert killed == KILLS, ended.stderr
    assert ended.report["weights_sha256"] == undisturbed.report["weights_sha256"]
    assert ended.losses("train") == undisturbed.losses("train")
    assert find_orphans(MARK, tmp_path.name) == []
