"""The cache key changes with every input of a build, and with nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from horovod_wheel import key, release
from horovod_wheel.settings import read_settings
from horovod_wheel.toolchain import Compiler, choose_compiler

COMPILER = Compiler(("g++",), "g++ 12", "linux_x86_64")


def key_of(env: dict[str, str] | None = None, compiler: Compiler = COMPILER) -> str:
    return key.cache_key(key.build_inputs(read_settings(env or {}), compiler))


@pytest.mark.parametrize(
    "env",
    [
        {"HOROVOD_LOCAL_VERSION": "mine"},
        {"HOROVOD_SKIP_COMPILE": "1"},
        {"CXX": "clang++"},
        {"CXXFLAGS": "-O1"},
        {"LDFLAGS": "-Wl,-O1"},
    ],
    ids=lambda env: "-".join(env),
)
def test_each_variable_changes_the_key(env: dict[str, str]) -> None:
    assert key_of(env) != key_of()


@pytest.mark.parametrize("field", ["version", "platform_tag", "zig_target"])
def test_each_fact_of_the_compiler_changes_the_key(field: str) -> None:
    assert key_of(compiler=replace(COMPILER, **{field: "other"})) != key_of()


@pytest.mark.parametrize(
    "changed",
    [
        "patches/0003-missing-includes.patch",
        "backend/horovod_wheel/sources.py",
        "core/mpi/mpi.cc",
        "core/horovod_c.h",
        "python/horovod/common/basics.py",
        "tensorflow_op/operation.cc",
    ],
)
def test_source_of_this_project_changes_the_key(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key_of()
    ignored = shutil.ignore_patterns("__pycache__", "tests")
    copy = shutil.copytree(key.PROJECT, tmp_path / "copy", ignore=ignored)
    monkeypatch.setattr(key, "PROJECT", copy)
    assert key_of() == before
    (copy / "README.md").write_text("no input")
    (copy / "core/__pycache__").mkdir()
    (copy / "core/__pycache__/x.pyc").touch()
    assert key_of() == before
    file = copy / changed
    file.write_text(file.read_text() + "\n")
    assert key_of() != before


def test_the_libraries_are_kept_when_only_python_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def libraries() -> str:
        return key.cache_key(key.library_inputs(read_settings({}), COMPILER))

    before = libraries()
    ignored = shutil.ignore_patterns("__pycache__", "tests")
    copy = shutil.copytree(key.PROJECT, tmp_path / "copy", ignore=ignored)
    monkeypatch.setattr(key, "PROJECT", copy)
    (copy / "python/horovod/common/basics.py").write_text("changed")
    assert libraries() == before
    (copy / "core/state.cc").write_text("changed")
    assert libraries() != before


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
        {"HOROVOD_CYCLE_TIME": "5"},
        {"HOROVOD_GPU_OPERATIONS": ""},
        {"CXXFLAGS": ""},
    ],
    ids=lambda env: "-".join(env),
)
def test_what_does_not_reach_the_build_leaves_the_key(env: dict[str, str]) -> None:
    assert key_of(env) == key_of()


def test_the_python_and_its_frameworks_leave_the_key() -> None:
    """One wheel for all of them: none of their versions is among the inputs."""
    inputs = key.build_inputs(read_settings({}), COMPILER)
    assert set(inputs) == {
        "sdist",
        "files",
        "version",
        "compiled",
        "platform",
        "compiler",
        "target",
        "variables",
    }


def test_this_machine_is_read_the_same_twice() -> None:
    env = {"PATH": "/usr/bin:/bin"}
    first, second = (choose_compiler(read_settings(env), env) for _ in range(2))
    assert first == second
