"""Jobs on a real Ray cluster of this machine: ranks that work, fail, stop, lose nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import horovod_library
from hvdcore.launch.supervisor.processes import find_orphans
from hvdcore.testing.ray import TestCluster
from hvdcore.testing.runs import ranks_environment
from hvdcore.testing.secrets import MARK as SECRET
from hvdcore.testing.secrets import SECRETS, CommandLines, files_holding

pytest.importorskip("ray", reason="the extra hvdcore[ray] is not installed")
pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(horovod_library() is None, reason="Horovod is not installed"),
]
SECONDS = 600.0
MARK = "HVDCORE_TEST_ON_RAY"
PRELUDE = """
import os, sys, time
import hvdcore.torch
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.signals import StopFlag
from hvdcore.launch.supervisor.supervise import run_as_rank
rank, size = int(os.environ["HOROVOD_RANK"]), int(os.environ["HOROVOD_SIZE"])
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[TestCluster]:
    with TestCluster(2) as nodes:
        yield nodes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def start(folder: Path, body: str, *options: str, **own: str) -> subprocess.Popen[str]:
    """`hvdcore launch` of a script, with options and own variables."""
    file = folder / "ranks.py"
    file.write_text(f"{PRELUDE}\n{body}\nsys.exit(run_as_rank(main))\n", encoding="utf-8")
    launch = [sys.executable, "-m", "hvdcore", "launch", "--log-dir", str(folder), *options]
    return subprocess.Popen(
        [*launch, sys.executable, str(file)],
        env=ranks_environment({MARK: folder.name, **own}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """Exit code, stdout, and the lines on stderr."""
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err.splitlines()


def said(lines: list[str], *heads: str) -> list[str]:
    return [line for line in lines if line.startswith(heads)]


def test_ranks_on_two_nodes_sum_and_the_one_that_fails_is_named(
    cluster: TestCluster, folder: Path
) -> None:
    body = """
def main():
    import torch
    import horovod.torch as hvd
    world = hvdcore.torch.init()
    total = hvd.allreduce(torch.tensor([10.0 ** world.rank]), op=hvd.Sum).tolist()
    print(total, world.rank, world.size, world.local_rank, world.local_size, flush=True)
    if world.rank == 1:
        raise ValueError("this batch is broken")
    beat("communicate")
    time.sleep(1000)
"""
    code, out, err = ended(start(folder, body, "--ray", cluster.address, "--np", "2"))
    assert (code, out) == (1, "[11.0] 0 2 0 1\n"), err
    nodes = said(err, "host ")
    assert sorted(line.split()[1].rstrip(":") for line in nodes) == sorted(cluster.nodes)
    log = folder / "rank-1.log"
    assert err[len(nodes) :] == [f"rank 1 failed: ValueError: this batch is broken (log: {log})"]
    assert "[11.0] 1 2 0 1" in log.read_text("utf-8")
    assert find_orphans(MARK, folder.name) == []


def test_no_value_of_the_environment_is_seen(cluster: TestCluster, folder: Path) -> None:
    """In no command line, nor in what Ray writes down."""
    body = """
def main():
    import json, pathlib
    beat("compute")
    time.sleep(0.5)
    own = pathlib.Path(sys.argv[0]).with_name(f"environment-{rank}.json")
    own.write_text(json.dumps(dict(os.environ)))
"""
    options = ("--ray", cluster.address, "--np", "2")
    with CommandLines() as lines:
        code, _, err = ended(start(folder, body, *options, **SECRETS))
    assert code == 0, err
    for rank in range(2):
        path = folder / f"environment-{rank}.json"
        environment = json.loads(path.read_text("utf-8"))
        path.unlink()
        assert {name: environment.get(name) for name in SECRETS} == SECRETS
    assert lines.holding("hvdcore.launch.ray.rank")
    assert lines.holding(SECRET) == []
    assert files_holding(SECRET, folder, cluster.folder) == []


UNTIL_STOPPED = """
def main():
    with StopFlag() as flag:
        print("start", size, flush=True)
        while not flag.requested:
            beat("compute")
            time.sleep(0.05)
        print("saved", flush=True)
        return flag.exit_code
"""


def test_a_signal_to_the_driver_lets_the_ranks_save(cluster: TestCluster, folder: Path) -> None:
    process = start(folder, UNTIL_STOPPED, "--ray", cluster.address)  # as many as are free
    assert process.stdout is not None
    assert process.stdout.readline() == "start 2\n"
    process.send_signal(signal.SIGTERM)
    code, out, err = ended(process)
    assert (code, out) == (143, "saved\n"), err
    assert len(err) == len(said(err, "host ")), err
    assert find_orphans(MARK, folder.name) == []


def test_a_driver_that_is_killed_leaves_no_rank(cluster: TestCluster, folder: Path) -> None:
    process = start(folder, UNTIL_STOPPED, "--ray", cluster.address)
    assert process.stdout is not None
    assert process.stdout.readline() == "start 2\n"
    process.kill()
    ended(process)
    deadline = time.monotonic() + SECONDS
    while find_orphans(MARK, folder.name):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.proof
def test_nodes_join_and_die(cluster: TestCluster, folder: Path) -> None:
    """Saved and started again with more ranks; started again with what a dead node has left."""
    first = cluster.nodes[0]
    for name in cluster.nodes[1:]:
        cluster.kill(name)
    body = "went = int(os.environ.get('HVDCORE_RESTART', '0')) > 1\n" + UNTIL_STOPPED
    body = body.replace("while not flag.requested", "while not flag.requested and not went")
    body = body.replace("return flag.exit_code", "return flag.exit_code if flag.requested else 0")
    elastic = ("--min-np", "1", "--max-np", "2", "--elastic-timeout", "300")
    process = start(folder, body, "--ray", cluster.address, *elastic)
    assert process.stdout is not None
    assert process.stdout.readline() == "start 1\n"
    second = cluster.add()
    assert [process.stdout.readline() for _ in range(2)] == ["saved\n", "start 2\n"]
    cluster.kill(second)
    code, out, err = ended(process)
    assert (code, out) == (0, "start 1\nsaved\n"), err
    going = "resuming from the newest checkpoint with"
    says = said(err, "launcher: ")
    joined = f"launcher: {second} joined: {going} 2 ranks on "
    assert any(line.startswith(joined) for line in says), err
    assert says[-1] == f"launcher: restart 1 of 10: {going} 1 ranks on {first}:1", err
    assert find_orphans(MARK, folder.name) == []


def test_more_than_the_cluster_has_is_refused(cluster: TestCluster, folder: Path) -> None:
    options = ("--ray", cluster.address, "--np", "3", "--elastic-timeout", "1")
    result = ended(start(folder, UNTIL_STOPPED, *options))
    need = f"error: --np: 3 ranks need 3 CPUs; the Ray cluster has {len(cluster.nodes)} CPUs, "
    assert (result[0], result[1]) == (2, ""), result
    assert [line[: len(need)] for line in result[2]] == [need]


def test_the_python_call_is_the_same(cluster: TestCluster, folder: Path) -> None:
    program = f"""
import sys
from hvdcore.launch.launch import run_on_ray as run
body = "import os; print('rank', os.environ['HOROVOD_RANK'], 'of', os.environ['HOROVOD_SIZE'])"
sys.exit(run([sys.executable, "-c", body], np=1, address={cluster.address!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=ranks_environment({}), capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "rank 0 of 1\n"), done.stderr
    assert os.environ.get("RAY_ADDRESS") is None


def test_ranks_see_the_gpus_of_their_node(cluster: TestCluster, folder: Path) -> None:
    """Each takes the one of its local rank; those of other nodes or jobs are not to be seen."""
    name = cluster.add(num_cpus=2, num_gpus=3)
    body = """
def main():
    print(os.environ["CUDA_VISIBLE_DEVICES"], os.environ["HOROVOD_LOCAL_RANK"], flush=True)
"""
    code, out, err = ended(start(folder, body, "--ray", cluster.address))
    cluster.kill(name)
    assert said(err, "host ")[0].startswith(f"host {name}: 2 slots, "), err
    assert (code, out) == (0, "0,1 0\n"), err
    assert "0,1 1" in (folder / "rank-1.log").read_text("utf-8")
