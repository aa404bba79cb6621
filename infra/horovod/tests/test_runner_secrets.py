"""No value of the environment stands in a command line of a job, here or on another host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runner_jobs import (
    CommandLines,
    environment,
    has_mpirun,
    horovodrun,
    program,
    running,
    wait_until,
    with_ssh,
)

pytest.importorskip("horovod.runner")

SECRETS = {
    "HF_TOKEN": "hf_Zk3-not-for-others",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+x y'z\"$HOME",
    "MULTI_LINE": "first-line-7781\nsecond-line-7782",
}
LOCAL = ("-np", "2", "--disable-cache")
REMOTE = (*LOCAL, "-H", "localhost:1,worker-a:1", "--network-interfaces", "lo")
JOBS = {
    "gloo": (*LOCAL, "--gloo"),
    "gloo, verbose": (*LOCAL, "--gloo", "--verbose"),
    "gloo, two hosts": (*REMOTE, "--gloo"),
    "gloo, two hosts that are asked": (*REMOTE[:-2], "--gloo"),
    "mpi": (*LOCAL, "--mpi"),
}


def ranks_in(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]


@pytest.mark.ranks
@pytest.mark.parametrize("job", JOBS)
def test_no_value_on_a_command_line(job: str, tmp_path: Path) -> None:
    if "mpi" in job and not has_mpirun():
        pytest.skip("mpirun is not installed")
    env = with_ssh(tmp_path / "bin", **SECRETS)
    command = horovodrun(*JOBS[job], *program("runner_rank.py", tmp_path, "wait"))
    with running(command, env) as process, CommandLines(process.pid) as lines:
        wait_until(lambda: len(ranks_in(tmp_path)) == 2, f"ranks of {job}")
        ranks = ranks_in(tmp_path)
        (tmp_path / "go").touch()
        out, err = process.communicate()
    assert process.returncode == 0, out + err
    # They have arrived, each as it was.
    for rank in ranks:
        assert {name: rank["env"].get(name) for name in SECRETS} == SECRETS
    values = [*SECRETS.values(), "first-line-7781"]
    values += {r["env"]["HOROVOD_GLOO_RENDEZVOUS_SECRET"] for r in ranks if "gloo" in job}
    for value in values:
        assert not lines.holding(value)
        assert value not in out + err
    assert lines.holding("runner_rank.py")


@pytest.mark.ranks
def test_control_a_value_on_a_command_line_is_seen(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    command = horovodrun(*JOBS["gloo"], *program("runner_rank.py", tmp_path, "wait", "tell-7783"))
    with running(command) as process, CommandLines(process.pid) as lines:
        process.communicate()
    assert lines.holding("tell-7783")


@pytest.mark.ranks
@pytest.mark.parametrize("job", ["gloo", "gloo, two hosts"])
def test_no_shell_reads_arguments(job: str, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    words = ["$HOME", "a  b", "`id`", "x;y", "*", "'", '"', "\\", "A=B", ""]
    command = horovodrun(*JOBS[job], *program("runner_rank.py", tmp_path, "wait", *words))
    with running(command, with_ssh(tmp_path / "bin")) as process:
        out, err = process.communicate()
    assert process.returncode == 0, out + err
    for rank in ranks_in(tmp_path):
        assert rank["argv"][3:] == words


@pytest.mark.ranks
def test_the_secret_of_a_job_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    env = environment(HOROVOD_GLOO_RENDEZVOUS_SECRET="of another job", HOROVOD_SIZE="7")
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "go").touch()
        command = horovodrun(*JOBS["gloo"], *program("runner_rank.py", tmp_path / name, "wait"))
        with running(command, env) as process:
            process.communicate()
        found.append(
            {r["env"]["HOROVOD_GLOO_RENDEZVOUS_SECRET"] for r in ranks_in(tmp_path / name)}
        )
        assert {r["env"]["HOROVOD_SIZE"] for r in ranks_in(tmp_path / name)} == {"2"}
    assert len(found[0]) == len(found[1]) == 1
    assert found[0] != found[1]
