"""The order of a build: cache, source, edits, compile, wheel, cache."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import source
from .cache import WheelCache
from .compile import Build
from .edits import apply_edits
from .errors import BuildError
from .key import PATCHES, PROJECT, build_inputs, cache_key, library_inputs
from .patch_file import read_edits
from .progress import say
from .requirements import build_requirements
from .settings import Settings, read_settings
from .toolchain import Compiler, choose_compiler
from .wheel import write_wheel


@dataclass(frozen=True)
class Job:
    """One wheel to deliver: its settings, its compiler, all its inputs, and their key."""

    settings: Settings
    compiler: Compiler
    inputs: dict[str, object]
    key: str
    cache: WheelCache

    @property
    def library_inputs(self) -> dict[str, object]:
        """The inputs of the compiled libraries, which are kept apart: they change seldom."""
        return library_inputs(self.settings, self.compiler)

    def compiled(self) -> Path | None:
        """The archive of the compiled libraries, if the cache has it."""
        return self.cache.find(cache_key(self.library_inputs))


def plan(env: Mapping[str, str] = os.environ) -> Job:
    """What `env` and this machine ask for; a `BuildError` if that cannot be built."""
    settings = read_settings(env)
    compiler = choose_compiler(settings, env)
    inputs = build_inputs(settings, compiler)
    return Job(settings, compiler, inputs, cache_key(inputs), WheelCache(settings.cache))


def missing_requirements(job: Job) -> list[str]:
    """What a build of `job` needs; nothing when the cache has it or gets it while we wait."""
    if job.cache.find(job.key):
        return []
    with job.cache.lock(job.key):
        if job.cache.find(job.key):
            return []
    read_edits(PATCHES)
    have_sdist = source.at_hand(job.settings) is not None
    compiles = job.settings.compiled and job.compiled() is None
    return build_requirements(job.compiler, compiles=compiles, have_sdist=have_sdist)


def deliver(job: Job, folder: Path) -> Path:
    """Puts the wheel of `job` into `folder`, from the cache or after building it."""
    wheel = job.cache.find(job.key)
    if wheel is None:
        with job.cache.lock(job.key):
            wheel = job.cache.find(job.key) or _build(job)
    return Path(shutil.copy(wheel, folder))


def _build(job: Job) -> Path:
    log = job.cache.log(job.key)
    log.unlink(missing_ok=True)
    with job.cache.workspace(job.key) as workspace:
        if source.at_hand(job.settings) is None:
            say("fetching Horovod's source")
        tree = source.unpack(source.fetch(job.settings, workspace), workspace)
        apply_edits(read_edits(PATCHES), tree)
        libraries = _compile(job, tree, workspace, log)
        wheel = write_wheel(
            job.settings, job.compiler.platform_tag, PROJECT, tree, libraries, workspace
        )
        return job.cache.store(job.key, wheel, job.inputs)


def _compile(job: Job, tree: Path, workspace: Path, log: Path) -> Path | None:
    """The folder with the libraries: from the cache, or compiled and kept there."""
    if not job.settings.compiled:
        return None
    inputs = job.library_inputs
    key = cache_key(inputs)
    with job.cache.lock(key):
        kept = job.cache.find(key)
        if kept is None:
            kept = job.cache.store(key, _compiled_anew(job, tree, workspace, log), inputs)
        shutil.unpack_archive(kept, workspace / "kept")
    return workspace / "kept"


def _compiled_anew(job: Job, tree: Path, workspace: Path, log: Path) -> Path:
    if job.compiler.command is None:
        raise BuildError(
            "no C++ compiler, and ziglang is not in the build environment: install g++, or let pip"
            " isolate the build (without --no-build-isolation)"
        )
    folder = Build(job.compiler, PROJECT, tree, workspace, log).libraries()
    archive = workspace / "libraries.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*.so")):
            packed.write(path, path.relative_to(folder).as_posix())
    return archive
