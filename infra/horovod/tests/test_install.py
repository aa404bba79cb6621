"""Plain `pip install` of this project in a fresh environment, and two ranks that use it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest
from launch import ROOT_MAY, clean_environment

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment's bin folder, after `pip install ./infra/horovod`, isolation on.

    The frameworks are the ones of the environment that runs the tests: it comes last on the path,
    so that Horovod and Open MPI can only be the fresh ones.
    """
    root = tmp_path_factory.mktemp("fresh")
    venv.create(root, with_pip=True, symlinks=True)
    done = subprocess.run(
        [root / "bin/pip", "install", "--quiet", PROJECT], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    fresh = next(root.glob("lib/python3*/site-packages"))
    (fresh / "frameworks.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return root / "bin"


@pytest.mark.ranks
@pytest.mark.parametrize("controller", ["mpi", "gloo"])
@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_two_ranks_sum(installed: Path, framework: str, controller: str) -> None:
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    result = run_ranks(installed, framework, controller)
    assert result.returncode == 0, result.stdout + result.stderr
    for rank in range(2):
        assert f"rank {rank} of 2: [0.0, 3.0, 6.0]" in result.stdout


@pytest.mark.ranks
def test_libraries_come_from_the_fresh_environment(installed: Path) -> None:
    root = installed.parent.resolve()
    code = "import horovod, os; print(os.path.realpath(horovod.__file__))"
    command = [installed / "python", "-c", code]
    where = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    library = Path(where).parent / "lib/libhorovod.so"
    assert library.is_relative_to(root)
    program = Path(__file__).with_name("core_init.py")
    env = {**clean_environment(), **ROOT_MAY, "HOROVOD_CONTROLLER": "mpi"}
    done = subprocess.run(
        [installed / "python", "-B", program, library], env=env, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    assert found["library"] == str(root / "lib/libmpi.so.40"), done.stderr
    assert (found["mpi"], found["sum"]) == (True, [3.0])


@pytest.mark.ranks
def test_the_environment_has_no_framework_of_its_own(installed: Path) -> None:
    """What pip brought with the wheel, and what it had fetched to build it: no framework."""
    fresh = next(installed.parent.glob("lib/python3*/site-packages"))
    names = {path.name.partition("-")[0].lower() for path in fresh.glob("*.dist-info")}
    assert "horovod" in names
    assert not {"torch", "tensorflow", "keras", "jax", "numpy"} & names
    wheel = next(fresh.glob("horovod-*.dist-info/WHEEL")).read_text()
    assert "Tag: py3-none-linux_" in wheel


def run_ranks(
    bin_folder: Path, framework: str, controller: str
) -> subprocess.CompletedProcess[str]:
    """Runs allreduce.py on two ranks under the fresh environment's horovodrun."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HOROVOD_", "OMPI_"))}
    env.update(
        PATH=f"{bin_folder}{os.pathsep}{env['PATH']}",
        OMP_NUM_THREADS="1",
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
        OMPI_MCA_rmaps_base_oversubscribe="1",
    )
    script = Path(__file__).with_name("allreduce.py")
    command = [bin_folder / "horovodrun", "-np", "2", f"--{controller}"]
    command += [bin_folder / "python", script, framework, "2"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
