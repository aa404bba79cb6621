"""Compiles the core library and the extra ones, file by file, on all cores."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .elf import check_library
from .errors import BuildError
from .extras import EXTRAS
from .progress import Counter, say
from .sources import DEFINES, core_sources, include_folders, write_gloo_config
from .toolchain import Compiler

CORE_LIBRARY = "horovod/lib/libhorovod.so"
# The library must run on every processor of its kind: no -march, and no flags of this machine.
_FLAGS = [
    "-O3",
    "-std=c++17",
    "-fPIC",
    "-pthread",
    "-fvisibility=hidden",
    "-ffunction-sections",
    "-fdata-sections",
    "-w",
]


class Build:
    """One build: its compiler, its folders, its log."""

    def __init__(
        self, compiler: Compiler, project: Path, tree: Path, workspace: Path, log: Path
    ) -> None:
        self._compiler = compiler
        self._project = project
        self._tree = tree
        self._workspace = workspace
        self._log = log
        self._lock = threading.Lock()

    def libraries(self) -> Path:
        """Builds every library; returns the folder that has `horovod/`.

        The compiler's output goes to the log; a `BuildError` quotes the first error in it.
        """
        write_gloo_config(self._tree)
        core = self._project / "core"
        core_files = core_sources(self._tree, core)
        extras = {extra: extra.sources(self._project) for extra in EXTRAS}
        extras = {extra: files for extra, files in extras.items() if files}
        every = [*core_files, *(file for files in extras.values() for file in files)]
        say(f"compiling {len(every)} files with {self._compiler.name} (log: {self._log})")
        objects = self._compile_all(every)
        self._link(CORE_LIBRARY, [objects[f] for f in core_files], self._exports_of_core())
        for extra, files in extras.items():
            exports = extra.version_script(self._project)
            self._link(extra.output, [objects[f] for f in files], exports)
        return self._output

    @property
    def _output(self) -> Path:
        return self._workspace / "lib"

    def _compile_all(self, files: Sequence[Path]) -> dict[Path, Path]:
        counter = Counter("compiled", len(files))
        folder = self._workspace / "objects"
        folder.mkdir()
        objects = {file: folder / f"{number}.o" for number, file in enumerate(files)}

        def one(file: Path) -> None:
            self._run([*self._flags(), "-c", str(file), "-o", str(objects[file])])
            counter.add()

        with ThreadPoolExecutor(_num_jobs()) as pool:
            # The largest files first, so that no core is left alone with one at the end.
            waiting = [pool.submit(one, f) for f in sorted(files, key=_cost, reverse=True)]
            try:
                for job in waiting:
                    job.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return objects

    def _flags(self) -> list[str]:
        core = self._project / "core"
        flags = [*_FLAGS, *(f"-D{define}" for define in DEFINES)]
        flags += [f"-I{folder}" for folder in include_folders(self._tree, core)]
        # Log lines of the library name their source file: not by a temporary path.
        flags += [f"-ffile-prefix-map={self._tree}/=", f"-ffile-prefix-map={self._project}/="]
        return [*flags, *shlex.split(os.environ.get("CXXFLAGS", ""))]

    def _exports_of_core(self) -> Path:
        script = self._workspace / "exports.map"
        script.write_text("{ global: horovod_*; local: *; };\n", encoding="utf-8")
        return script

    def _link(self, output: str, objects: list[Path], exports: Path) -> None:
        target = self._output / output
        target.parent.mkdir(parents=True, exist_ok=True)
        command = ["-shared", "-o", str(target), *map(str, objects)]
        command += [f"-Wl,--version-script={exports}", f"-Wl,-soname,{target.name}"]
        command += [*self._compiler.link_flags, *shlex.split(os.environ.get("LDFLAGS", ""))]
        self._run(command)
        check_library(target, self._compiler.glibc)

    def _run(self, arguments: Sequence[str]) -> None:
        assert self._compiler.command is not None
        command = [*self._compiler.command, *arguments]
        env = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(self._workspace / "zig")}
        env["ZIG_LOCAL_CACHE_DIR"] = env["ZIG_GLOBAL_CACHE_DIR"]
        done = subprocess.run(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        text = done.stdout.decode(errors="replace")
        with self._lock, self._log.open("a", encoding="utf-8") as log:
            print("$", shlex.join(command), file=log)
            log.write(text)
        if done.returncode != 0:
            raise BuildError(f"{_first_error(text, done.returncode)}; the whole log: {self._log}")


def _cost(file: Path) -> int:
    """Roughly how long a file takes: what instantiates Eigen and Gloo's templates takes longest."""
    slow = ("bayesian", "gaussian", "gloo_operations", "adasum", "operations")
    return file.stat().st_size + 200_000 * any(word in file.name for word in slow)


def _num_jobs() -> int:
    """The cores that this process may use, or what the user says."""
    asked = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else len(os.sched_getaffinity(0))


def _first_error(text: str, code: int) -> str:
    """The first line that a compiler or linker marks as an error."""
    lines = text.splitlines()
    for line in lines:
        if re.search(r"\berror:|fatal error|undefined symbol|undefined reference", line):
            return line.strip()[:400]
    if code < 0:
        return f"the compiler was ended by signal {-code} (is there enough memory?)"
    return " ".join(lines[-2:])[:400] or "the compiler failed without a word"
