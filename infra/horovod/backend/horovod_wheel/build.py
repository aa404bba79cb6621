"""The order of a build: cache, source, edits, compile, wheel, cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import source
from .cache import WheelCache
from .compile import Build
from .edits import apply_edits
from .errors import BuildError
from .key import PATCHES, PROJECT, build_inputs, cache_key
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
    return build_requirements(job.settings, job.compiler, have_sdist=have_sdist)


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
    if not job.settings.compiled:
        return None
    if job.compiler.command is None:
        raise BuildError(
            "no C++ compiler, and ziglang is not in the build environment: install g++, or let pip"
            " isolate the build (without --no-build-isolation)"
        )
    return Build(job.compiler, PROJECT, tree, workspace, log).libraries()
