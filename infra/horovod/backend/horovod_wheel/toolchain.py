"""The compiler of a build: the system's if there is one, else ziglang from pip."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import release
from .errors import BuildError
from .settings import RELEASE_PLATFORMS, Settings

_LINK = ["-pthread", "-ldl", "-Wl,-z,relro,-z,now,--gc-sections,-z,defs", "-s"]


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler, and the platform that its output is for.

    `command` is None for a ziglang that pip has yet to install. `version` is the line that the
    compiler says of itself, or ziglang's requirement.
    """

    command: tuple[str, ...] | None
    version: str
    platform_tag: str
    zig_target: str | None = None

    @property
    def is_zig(self) -> bool:
        """Whether this is ziglang."""
        return self.zig_target is not None

    @property
    def glibc(self) -> tuple[int, int] | None:
        """The oldest glibc that the output must run with; None where nobody promises one."""
        found = re.search(r"-gnu\.(\d+)\.(\d+)$", self.zig_target or "")
        return (int(found[1]), int(found[2])) if found else None

    @property
    def link_flags(self) -> list[str]:
        """Flags for a shared library that uses nothing of the process's other libraries."""
        # zig's linker knows the shorter form alone; it holds for functions and data.
        symbolic = "-Wl,-Bsymbolic" if self.is_zig else "-Wl,-Bsymbolic-functions"
        return [symbolic, *_LINK]

    @property
    def name(self) -> str:
        """For messages: `g++ (Debian 12.2.0) 12.2.0`."""
        return f"ziglang for {self.zig_target}" if self.is_zig else self.version


def choose_compiler(settings: Settings, env: Mapping[str, str]) -> Compiler:
    """The compiler for `settings`; a `BuildError` for a machine that Horovod does not build on."""
    if sys.platform != "linux":
        raise BuildError(f"Horovod builds on Linux, and this is {sys.platform}")
    if settings.platform is not None:
        return _zig(RELEASE_PLATFORMS[settings.platform], settings.platform)
    system = _system_compiler(env)
    return system or _zig(platform.machine(), local_platform_tag())


def local_platform_tag() -> str:
    """The wheel tag of this machine, such as `linux_x86_64`."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def _system_compiler(env: Mapping[str, str]) -> Compiler | None:
    """What CXX names, which must be there, or the first of the usual names."""
    asked = shlex.split(env.get("CXX", ""))
    for name in asked[:1] or ("c++", "g++", "clang++"):
        found = shutil.which(name, path=env.get("PATH", os.defpath))
        if found:
            version = _first_line([found, *asked[1:], "--version"])
            return Compiler((found, *asked[1:]), version, local_platform_tag())
    if asked:
        raise BuildError(f"CXX={env['CXX']}: no such compiler; correct it, or unset it")
    return None


def _zig(machine: str, platform_tag: str) -> Compiler:
    if machine not in RELEASE_PLATFORMS.values():
        raise BuildError(
            f"no C++ compiler found, and pip has none for {machine}: install g++"
            " (Debian and Ubuntu: apt-get install g++), or name one in CXX"
        )
    libc, version = platform.libc_ver()
    musl = platform_tag not in RELEASE_PLATFORMS and libc != "glibc"
    if musl:
        target = f"{machine}-linux-musl"
    else:
        local = tuple(int(part) for part in version.split(".")[:2]) if libc == "glibc" else (9, 0)
        glibc = release.GLIBC if platform_tag in RELEASE_PLATFORMS else min(local, release.GLIBC)
        target = f"{machine}-linux-gnu.{glibc[0]}.{glibc[1]}"
    program = _zig_program()
    command = (str(program), "c++", "-target", target) if program else None
    return Compiler(command, release.ZIGLANG, platform_tag, zig_target=target)


def _zig_program() -> Path | None:
    """The `zig` inside the package: its Python wrapper costs time in each of a hundred calls."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / "zig"
    return program if program.is_file() else None


def _first_line(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{shlex.join(command)} does not run ({error.strerror})") from error
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        raise BuildError(f"{shlex.join(command)} does not run: repair that compiler")
    return lines[0]
