"""The cache key changes with every input of a build, and with nothing else."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
from horovod_wheel import key, release
from horovod_wheel.settings import read_settings
from horovod_wheel.toolchain import Toolchain, read_toolchain

TOOLCHAIN = Toolchain("cp311", "linux_x86_64", ".so", "glibc 2.36", "g++ 12", "-mavx", "none")


def key_of(env: dict[str, str] | None = None, toolchain: Toolchain = TOOLCHAIN) -> str:
    return key.cache_key(key.build_inputs(read_settings(env or {}), toolchain))


@pytest.mark.parametrize(
    "env",
    [
        {"HVD_TORCH_VERSION": "2.14.1"},
        {"HVD_TENSORFLOW_VERSION": "2.20.0"},
        {"HVD_OPENMPI_VERSION": "4.1.7"},
        {"HVD_OPENMPI_VERSION": "system"},
        {"HOROVOD_WITHOUT_TENSORFLOW": "1"},
        {"HOROVOD_WITHOUT_PYTORCH": "1"},
        {"HOROVOD_WITHOUT_MPI": "1"},
        {"HOROVOD_WITHOUT_GLOO": "1"},
        {"HOROVOD_WITH_MXNET": "1"},
        {"HOROVOD_GPU_OPERATIONS": "NCCL"},
        {"HOROVOD_BUILD_ARCH_FLAGS": "-mtune=generic"},
        {"HOROVOD_LOCAL_VERSION": "mine"},
        {"HOROVOD_ANY_OTHER": "x"},
        {"CXX": "clang++"},
        {"CXXFLAGS": "-O1"},
        {"CUDA_HOME": "/opt/cuda"},
    ],
    ids=lambda env: "-".join(env),
)
def test_each_variable_changes_the_key(env: dict[str, str]) -> None:
    assert key_of(env) != key_of()


@pytest.mark.parametrize("field", [field.name for field in fields(Toolchain)])
def test_each_fact_of_the_machine_changes_the_key(field: str) -> None:
    assert key_of(toolchain=replace(TOOLCHAIN, **{field: "other"})) != key_of()


@pytest.mark.parametrize(("folder", "pattern"), [("PATCHES", "*.patch"), ("BACKEND", "*.py")])
def test_source_of_this_project_changes_the_key(
    folder: str, pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key_of()
    copy = shutil.copytree(getattr(key, folder), tmp_path / "copy")
    monkeypatch.setattr(key, folder, copy)
    assert key_of() == before
    first = next(copy.glob(pattern))
    first.write_text(first.read_text() + "\n")
    assert key_of() != before


def test_the_pinned_source_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of()
    monkeypatch.setattr(release, "SDIST_SHA256", "0" * 64)
    assert key_of() != before


@pytest.mark.parametrize(
    "env",
    [
        {"HOME": "/elsewhere"},
        {"HVD_CACHE": "/elsewhere"},
        {"HVD_HOROVOD_SDIST": "/elsewhere.tar.gz"},
        {"HVD_TORCH_VERSION": release.TORCH_VERSION},
        {"HOROVOD_GPU_OPERATIONS": ""},
        {"HOROVOD_WITHOUT_TENSORFLOW": ""},
    ],
    ids=lambda env: "-".join(env),
)
def test_what_does_not_reach_the_build_leaves_the_key(env: dict[str, str]) -> None:
    assert key_of(env) == key_of()


def test_this_machine_is_read_the_same_twice() -> None:
    assert read_toolchain({"PATH": "/usr/bin:/bin"}) == read_toolchain({"PATH": "/usr/bin:/bin"})
