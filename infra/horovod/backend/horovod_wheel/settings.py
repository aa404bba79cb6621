"""Reads the environment: what to build for, with what, where to keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import release
from .errors import BuildError

# What compilers read by themselves.
COMPILE_VARIABLES = ("CPATH", "CPLUS_INCLUDE_PATH", "CXX", "CXXFLAGS", "LDFLAGS", "LIBRARY_PATH")
RELEASE_PLATFORMS = {
    "manylinux_2_28_x86_64": "x86_64",
    "manylinux_2_28_aarch64": "aarch64",
}
# Upstream's options for parts that this build does not have: not to be left out in silence.
_NOT_HERE = ("HOROVOD_GPU_OPERATIONS", "HOROVOD_GPU", "HOROVOD_WITH_MXNET", "HOROVOD_CCL_ROOT")


@dataclass(frozen=True)
class Settings:
    """One build, as the environment asks for it."""

    platform: str | None  # a platform of releases, or None for this machine
    compiled: bool  # False: HOROVOD_SKIP_COMPILE, a wheel without native libraries
    version: str
    cache: Path
    sdist: Path | None  # a local copy of the source, instead of a download
    variables: tuple[tuple[str, str], ...]  # what else reaches the compiler


def read_settings(env: Mapping[str, str]) -> Settings:
    """Settings from `env`; a `BuildError` where one of its variables cannot be honoured."""
    for name in _NOT_HERE:
        if env.get(name, "0") not in ("", "0"):
            raise BuildError(
                f"{name}={env[name]}: there is nothing to choose: NCCL is found when Horovod runs,"
                " and MXNet and oneCCL are not supported; unset it"
            )
    platform = env.get("HVD_WHEEL_PLATFORM") or None
    if platform not in (None, *RELEASE_PLATFORMS):
        raise BuildError(
            f"HVD_WHEEL_PLATFORM={platform} is not known: there are {', '.join(RELEASE_PLATFORMS)}"
        )
    label = env.get("HOROVOD_LOCAL_VERSION") or release.LOCAL_LABEL
    return Settings(
        platform=platform,
        compiled=not _switch(env, "HOROVOD_SKIP_COMPILE"),
        version=f"{release.UPSTREAM_VERSION}+{label}",
        cache=_cache_root(env),
        sdist=Path(env["HVD_HOROVOD_SDIST"]) if env.get("HVD_HOROVOD_SDIST") else None,
        variables=tuple((name, env[name]) for name in COMPILE_VARIABLES if env.get(name)),
    )


def _switch(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "")
    if value not in ("", "0", "1"):
        raise BuildError(f"{name}={value} is not understood: set it to 1, or unset it")
    return value == "1"


def _cache_root(env: Mapping[str, str]) -> Path:
    if env.get("HVD_CACHE"):
        return Path(env["HVD_CACHE"]).expanduser().resolve()
    return Path(env.get("XDG_CACHE_HOME") or "~/.cache").expanduser().resolve() / "hvd-wheels"
