"""Trials on a real Ray cluster of this host: a study as without it, and what happens to a trial
whose actor is lost, or that never gets a node."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hvdcore.errors import UserError
from hvdcore.launch.supervisor.processes import find_orphans
from hvdcore.runtime.environment import STUDY
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.plan import Plan
from hvdcore.tune.trial import Process, console_log, why_it_ended

pytest.importorskip("optuna", reason="the extra hvdcore[tune] is not installed")
ray = pytest.importorskip("ray", reason="the extra hvdcore[ray] is not installed")

PlanOf = Callable[..., Plan]
PROGRAM = Path(__file__).parents[1] / "programs" / "tune_trainer.py"
SECONDS = 900.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """A cluster of three CPUs, whatever this host has; its address in the environment."""
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # 30, on a machine however busy
    context = ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    address = str(context.address_info["address"])
    yield {"RAY_ADDRESS": address}
    ray.shutdown()


def ended(process: Process, within: float = SECONDS) -> int:
    deadline = time.monotonic() + within
    while (code := process.exit_code()) is None:
        assert time.monotonic() < deadline, "the trial does not end"
        time.sleep(0.1)
    return code


@pytest.mark.proof
@pytest.mark.ranks
def test_a_study_on_a_cluster_goes_on_where_it_was(cluster: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "study"
    line = [sys.executable, str(PROGRAM), "tune", "--output-dir", str(out), "--engine", "ray"]
    line += ["--pruner", "none", "--seed", "0"]
    env = {**os.environ, **cluster}
    numbers = []
    for trials in ("2", "4"):
        done = subprocess.run(
            [*line, "--trials", trials], env=env, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, done.stderr
        rows = json.loads((out / "tuning.json").read_text("utf-8"))["trials"]
        assert {row["state"] for row in rows} == {"complete"}
        numbers.append(len(rows))
    assert numbers == [2, 4]
    best = min(rows, key=lambda row: row["value"])
    x, kind = best["params"]["learning_rate"], best["params"]["model"]
    expected = (x - 0.3) ** 2 + (0.1 if kind == "b" else 0.0) + 1 / 4
    assert best["value"] == pytest.approx(expected)


@pytest.mark.proof
@pytest.mark.ranks
def test_trials_are_held_by_the_cluster(
    cluster: dict[str, str], plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is stopped in good order, one loses its actor, and one waits in vain for a node."""
    from hvdcore.tune import ray_engine

    # The connection is the fixture's: the engine opens and closes none of its own.
    monkeypatch.setattr(ray_engine.ray, "init", lambda **_: None)
    monkeypatch.setattr(ray_engine.ray, "shutdown", lambda: None)
    plan, folder = plan_of(engine="ray", np=1, parallel_trials=None), StudyFolder(tmp_path / "s")
    sleeper = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]

    def wait_for(path: Path) -> None:
        deadline = time.monotonic() + SECONDS
        while not (log := console_log(path)).exists() or "here" not in log.read_text("utf-8"):
            assert time.monotonic() < deadline, "the trial does not start"
            time.sleep(0.1)

    with folder.taken(plan.fingerprint()), ray_engine.RayEngine(plan, folder) as engine:
        assert engine.num_parallel == 3  # as many as the cluster has CPUs
        paths = [folder.trial(number) for number in range(4)]
        running: list[Any] = [engine.start(path, sleeper) for path in paths]
        for path in paths[:3]:
            wait_for(path)
        assert [process.exit_code() for process in running] == [None] * 4
        running[3].stop()
        assert ended(running[3]) == 143
        assert not console_log(paths[3]).exists()
        running[0].stop()
        assert ended(running[0]) == 143
        ray.kill(running[1]._actor)
        assert ended(running[1]) == 1
        assert why_it_ended(paths[1]).startswith("error: Ray lost the trial: ")
        running[2].kill()
        assert ended(running[2]) != 0
    deadline = time.monotonic() + 60.0
    while (left := find_orphans(STUDY, folder.key)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


def test_a_trial_larger_than_the_cluster_is_refused(
    plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hvdcore.tune import ray_engine

    monkeypatch.setattr(ray_engine.ray, "init", lambda **_: None)
    monkeypatch.setattr(ray_engine.ray, "cluster_resources", lambda: {"CPU": 3.0})
    folder = StudyFolder(tmp_path / "study")
    with pytest.raises(UserError, match="np: got 4; Ray's cluster has 3 CPUs"):
        ray_engine.RayEngine(plan_of(engine="ray", np=4), folder)
    assert ray_engine.RayEngine(plan_of(engine="ray", np=2), folder).num_parallel == 1


def test_an_address_where_nobody_listens_is_refused(
    plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hvdcore.tune import ray_engine

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UserError, match=f"engine: no Ray cluster at {address} "):
            ray_engine.RayEngine(plan_of(engine="ray", np=1), StudyFolder(tmp_path / "study"))


def test_gpus_are_counted_where_there_are_some() -> None:
    from hvdcore.tune.ray_engine import _num_trials, _resources

    cluster = {"CPU": 32.0, "GPU": 4.0}
    assert _resources(2, cluster) == {"num_cpus": 2, "num_gpus": 2}
    assert _num_trials(_resources(2, cluster), cluster) == 2
    assert _num_trials(_resources(2, {"CPU": 7.0}), {"CPU": 7.0}) == 3


def test_hosts_are_rays_to_choose(plan_of: PlanOf) -> None:
    with pytest.raises(UserError, match="hosts: Ray chooses the node of each trial"):
        plan_of(engine="ray", hosts="a:1,b:1")
