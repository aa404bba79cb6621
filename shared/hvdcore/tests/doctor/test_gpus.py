"""What the doctor says of GPUs, for facts written by hand, and on this machine."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from hvdcore.doctor.examination import Finding
from hvdcore.doctor.gpus import findings_of, gpu_report

FACTS: dict[str, Any] = {
    "cuda": "13.0",
    "cuda_library": "/v/libcudart.so.13",
    "nccl": 22703,
    "nccl_library": "/v/libnccl.so.2",
    "nccl_error": "",
    "gpus": [
        {"name": "NVIDIA H100", "sum": 2000.0, "peers": [1]},
        {"name": "NVIDIA H100", "sum": 2000.0, "peers": []},
    ],
}


def test_versions_and_files_are_named() -> None:
    assert findings_of(FACTS) == [
        Finding("cuda", "13.0 (/v/libcudart.so.13)"),
        Finding("nccl", "2.27.3 (/v/libnccl.so.2)"),
        Finding("gpu 0", "NVIDIA H100, peer access to 1, sum right"),
        Finding("gpu 1", "NVIDIA H100, peer access to none, sum right"),
    ]


@pytest.mark.parametrize("wrong", [1999.0, "NCCL: ncclAllReduce: unhandled cuda error"])
def test_a_wrong_sum_is_a_problem(wrong: float | str) -> None:
    gpu = {**FACTS["gpus"][0], "sum": wrong}
    last = findings_of({**FACTS, "gpus": [gpu]})[-1]
    assert last.fix == f"{wrong} instead of 2000.0"


def test_without_nccl_the_fix_is_named() -> None:
    error = "no NCCL library was found (libnccl.so): pip install nvidia-nccl-cu13"
    nccl = findings_of({**FACTS, "nccl": 0, "nccl_error": error})[1]
    assert "through the host's memory" in nccl.value
    assert nccl.fix == "pip install nvidia-nccl-cu13"


def test_a_pytorch_without_cuda_is_a_problem() -> None:
    (finding,) = findings_of({"cuda": None, "gpus": []})
    assert finding.fix


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a driver")
def test_a_machine_without_a_driver_is_no_problem() -> None:
    (finding,) = gpu_report()
    assert finding == Finding("gpus", "none: no NVIDIA driver answers (nvidia-smi)")
