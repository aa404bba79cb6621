"""Compiles Horovod's native libraries with CMake and ninja."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from .errors import BuildError
from .settings import Settings
from .toolchain import find_compiler

# The environment's lib/ as seen from site-packages/horovod/torch: the usual layout, the one of
# distributions with lib64, and `pip install --target`. A system Open MPI is found after these.
_RPATH = "$ORIGIN/../../../..:$ORIGIN/../../../../../lib:$ORIGIN/../../lib"


def compile_horovod(settings: Settings, tree: Path, workspace: Path, log: Path) -> Path:
    """Builds the libraries of the edited source `tree`; returns the folder that has `horovod/`.

    The compilers' output goes to `log`; a `BuildError` quotes the first error in it.
    """
    check_frameworks(settings)
    output, build = workspace / "lib", workspace / "cmake"
    output.mkdir()
    configuration = "Debug" if os.environ.get("HOROVOD_DEBUG") == "1" else "Release"
    cmake = settings.cmake or "cmake"
    definitions = _definitions(configuration, output)
    env = _environment(settings, tree)
    _run([cmake, "-S", str(tree), "-B", str(build), "-G", "Ninja", *definitions], env, log)
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(_num_cores())
    _run([cmake, "--build", str(build), "--parallel", jobs], env, log)
    return output


def check_frameworks(settings: Settings) -> None:
    """The frameworks at hand must be the ones in the cache key (pip --no-build-isolation)."""
    for name, wanted in settings.frameworks.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise BuildError(
                f"{name} {wanted} is not in the build environment: run the install again"
                " (the cached wheel may have gone meanwhile), with pip's build isolation on"
            ) from None
        if found != wanted and found.split("+")[0] != wanted:
            raise BuildError(
                f"the build environment has {name} {found}, but {wanted} was asked for:"
                f" set HVD_{name.upper()}_VERSION={found}"
            )


def _definitions(configuration: str, output: Path) -> list[str]:
    values = {
        "CMAKE_BUILD_TYPE": configuration,
        f"CMAKE_LIBRARY_OUTPUT_DIRECTORY_{configuration.upper()}": output,
        "PYTHON_EXECUTABLE:FILEPATH": sys.executable,
        # CMake 4 drops what Horovod's and Gloo's files ask for without this.
        "CMAKE_POLICY_VERSION_MINIMUM": "3.5",
        # The install RPATH alone: the build one also lists temporary folders of this machine.
        "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
        "CMAKE_INSTALL_RPATH": _RPATH,
    }
    return [f"-D{name}={value}" for name, value in values.items()]


def _environment(settings: Settings, tree: Path) -> dict[str, str]:
    """Asks upstream's CMake files for each part by name, so that a missing one is an error."""
    env = dict(os.environ)
    parts = {
        "PYTORCH": settings.torch,
        "TENSORFLOW": settings.tensorflow,
        "MXNET": settings.mxnet,
        "MPI": settings.openmpi,
        "GLOO": settings.gloo,
    }
    for part, wanted in parts.items():
        env.pop(f"HOROVOD_WITH{'OUT' if wanted else ''}_{part}", None)
        env[f"HOROVOD_WITH{'' if wanted else 'OUT'}_{part}"] = "1"
    for variable, flags in (("CC", "CFLAGS"), ("CXX", "CXXFLAGS")):
        compiler = find_compiler(env, variable)
        env[variable] = " ".join(compiler)
        # Log lines name their source file: without this, by a temporary path.
        env[flags] = f"{env.get(flags, '')} -ffile-prefix-map={tree}=horovod".strip()
    return env


def _run(command: Sequence[str], env: dict[str, str], log: Path) -> None:
    with log.open("a", encoding="utf-8") as handle:
        print("$", *command, file=handle, flush=True)
        try:
            done = subprocess.run(command, env=env, stdout=handle, stderr=handle, check=False)
        except OSError as error:
            raise BuildError(
                f"{command[0]} cannot be started ({error.strerror}): install CMake 3.25 or later,"
                " or name one in HOROVOD_CMAKE"
            ) from error
    if done.returncode != 0:
        raise BuildError(f"{_first_error(log)}; the whole log: {log}")


def _num_cores() -> int:
    """The cores that this process may use, where the platform can tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _first_error(log: Path) -> str:
    """The first line that CMake or a compiler marks as an error, with CMake's text after it."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines):
        if re.search(r"\berror:|CMake Error|fatal error", line):
            # CMake breaks its messages over indented lines.
            rest = lines[number + 1 : number + 4] if "CMake Error" in line else []
            return " ".join(part.strip() for part in [line, *rest] if part.strip())[:400]
    return " ".join(lines[-2:])[:400] or "it failed without a word"
