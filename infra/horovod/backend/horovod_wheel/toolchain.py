"""The machine's side of a build: compilers, Python headers, processor flags, CUDA."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import BuildError

# The flags that upstream's CMakeLists.txt looks for on the machine that builds.
_PROBED_FLAGS = ("f16c", "avx", "fma")


@dataclass(frozen=True)
class Toolchain:
    """Everything of this machine that decides what the compiled library is."""

    python_tag: str
    platform_tag: str
    abi_suffix: str
    libc: str
    cxx: str
    arch_flags: str
    cuda: str


def python_tag() -> str:
    """The wheel tag of this interpreter, such as `cp311`."""
    return f"cp{sys.version_info.major}{sys.version_info.minor}"


def platform_tag() -> str:
    """The wheel tag of this platform, such as `linux_x86_64`."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def read_toolchain(env: Mapping[str, str]) -> Toolchain:
    """Looks at this machine; a `BuildError` when it has no C++ compiler."""
    return Toolchain(
        python_tag=python_tag(),
        platform_tag=platform_tag(),
        abi_suffix=str(sysconfig.get_config_var("EXT_SUFFIX")),
        libc=" ".join(platform.libc_ver()),
        cxx=_first_line([*find_compiler(env, "CXX"), "--version"]),
        arch_flags=env.get("HOROVOD_BUILD_ARCH_FLAGS") or _probe_arch_flags(),
        cuda=_cuda_version(env),
    )


def check_headers() -> None:
    """Raises `BuildError` when this Python cannot be compiled against."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise BuildError(
            f"{header} is missing: install Python's headers"
            f" (Debian and Ubuntu: apt-get install python{version}-dev)"
        )


def find_compiler(env: Mapping[str, str], variable: str) -> list[str]:
    """The C (`CC`) or C++ (`CXX`) compiler and the arguments that the user gave with it."""
    names = {"CC": ("cc", "gcc", "clang"), "CXX": ("c++", "g++", "clang++")}[variable]
    asked = shlex.split(env.get(variable, ""))
    for name in asked[:1] or names:
        found = shutil.which(name, path=env.get("PATH", os.defpath))
        if found:
            return [found, *asked[1:]]
    language = {"CC": "C", "CXX": "C++"}[variable]
    raise BuildError(
        f"no {language} compiler found (looked for {', '.join(asked[:1] or names)}): install one"
        f" (Debian and Ubuntu: apt-get install g++) or name it in {variable}"
    )


def _probe_arch_flags() -> str:
    """What upstream's CMake files would find, by the same question to gcc."""
    command = ["gcc", "-march=native", "-E", "-v", "-x", "c", os.devnull]
    words = set(_output(command).split())
    return " ".join(f"-m{flag}" for flag in _PROBED_FLAGS if {f"-m{flag}", f"+{flag}"} & words)


def _cuda_version(env: Mapping[str, str]) -> str:
    """A CUDA toolkit changes the build against a PyTorch with CUDA; it is found as PyTorch does."""
    home = env.get("HOROVOD_CUDA_HOME") or env.get("CUDA_HOME") or env.get("CUDA_PATH")
    nvcc = Path(home, "bin", "nvcc") if home else shutil.which("nvcc", path=env.get("PATH"))
    if nvcc is None and Path("/usr/local/cuda").exists():
        nvcc = Path("/usr/local/cuda/bin/nvcc")
    lines = _output([str(nvcc), "--version"]).splitlines() if nvcc else []
    return lines[-1] if lines else "none"


def _first_line(command: Sequence[str]) -> str:
    lines = _output(command).splitlines()
    if not lines:
        raise BuildError(f"{shlex.join(command)} does not run: repair that compiler")
    return lines[0]


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""
