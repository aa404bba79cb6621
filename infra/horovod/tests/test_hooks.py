"""The PEP 517 hooks as pip calls them: the cache, two installs at once, one-line errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

import pytest
from horovod_wheel import source
from horovod_wheel.cache import WheelCache

StartHook = Callable[..., "subprocess.Popen[str]"]


def finished(process: subprocess.Popen[str]) -> str:
    """What the hook returned."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out.strip().splitlines()[-1]  # after the lines that say how far it is


def refusal(process: subprocess.Popen[str]) -> str:
    """The one line that the hook said instead of returning."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1, out
    assert all(line.startswith("horovod: ") for line in out.splitlines())
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.strip()


def test_two_builds_at_once_compile_once(
    start_hook: StartHook, fake_compiler: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    names = {finished(p) for p in [start_hook("build_wheel", folder) for folder in folders]}
    assert len(names) == 1
    assert fake_compiler.read_text() == "link\n"
    name = names.pop()
    assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_a_cached_wheel_needs_nothing(
    start_hook: StartHook, fake_compiler: Path, build_env: dict[str, str], tmp_path: Path
) -> None:
    assert "pip>=23.1" not in finished(start_hook("get_requires_for_build_wheel"))
    name = finished(start_hook("build_wheel", tmp_path))
    del build_env["HVD_HOROVOD_SDIST"]
    assert finished(start_hook("get_requires_for_build_wheel")) == "[]"
    assert finished(start_hook("build_wheel", tmp_path)) == name
    assert fake_compiler.read_text() == "link\n"


def test_a_damaged_cache_entry_is_built_again(
    start_hook: StartHook, fake_compiler: Path, tmp_path: Path
) -> None:
    name = finished(start_hook("build_wheel", tmp_path))
    good = (tmp_path / name).read_bytes()
    kept = next((tmp_path / "cache").glob(f"*/{name}"))
    kept.write_bytes(good[:-1])
    libraries = next((tmp_path / "cache").glob("*/libraries.zip"))
    libraries.write_bytes(libraries.read_bytes()[:-1])
    assert finished(start_hook("build_wheel", tmp_path)) == name
    assert kept.read_bytes() == good
    assert fake_compiler.read_text() == "link\n" * 2


def test_a_killed_build_blocks_nobody(tmp_path: Path) -> None:
    hold = "import sys, time; sys.path.insert(0, sys.argv[1]);"
    hold += "from pathlib import Path; from horovod_wheel.cache import WheelCache;"
    hold += "cache = WheelCache(Path(sys.argv[2])); lock = cache.lock('k'); lock.__enter__();"
    hold += "workspace = cache.workspace('k'); print(workspace.__enter__(), flush=True);"
    hold += "time.sleep(600)"
    backend = Path(__file__).parents[1] / "backend"
    command = [sys.executable, "-B", "-c", hold, str(backend), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        left_over = Path(holder.stdout.readline().strip())
        os.kill(holder.pid, signal.SIGKILL)
    assert left_over.is_dir()
    cache = WheelCache(tmp_path)
    with cache.lock("k"), cache.workspace("k"):
        assert not left_over.exists()


def test_prepared_metadata_is_the_wheels(
    start_hook: StartHook, fake_compiler: Path, tmp_path: Path
) -> None:
    info = finished(start_hook("prepare_metadata_for_build_wheel", tmp_path / "metadata"))
    assert fake_compiler.read_text() == ""
    wheel = tmp_path / finished(start_hook("build_wheel", tmp_path))
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read(f"{info}/METADATA").decode()
        assert "horovod/torch/mpi_ops.py" in archive.namelist()
        assert "horovod/lib/libhorovod.so" in archive.namelist()
        assert "Tag: py3-none-linux_" in archive.read(f"{info}/WHEEL").decode()
    assert packed == (tmp_path / "metadata" / info / "METADATA").read_text()
    parsed = Parser().parsestr(packed)
    assert parsed["Version"] == "0.28.1+hvd1"
    assert not {"torch", "tensorflow", "keras"} & set(parsed.get_all("Requires-Dist", []))


def test_the_source_archive_can_build(start_hook: StartHook, tmp_path: Path) -> None:
    archive = tmp_path / finished(start_hook("build_sdist", tmp_path))
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"PKG-INFO", "pyproject.toml", "backend/horovod_wheel/hooks.py"} <= names
    assert {"core/horovod_c.h", "core/mpi/mpi.h", "core/horovod_c.cc"} <= names
    assert any(name.startswith("patches/") for name in names)


def test_without_a_compiler_pip_brings_one(
    start_hook: StartHook, build_env: dict[str, str], tmp_path: Path
) -> None:
    assert finished(start_hook("get_requires_for_build_wheel")) == "[]"
    build_env["PATH"] = str(tmp_path)
    assert "ziglang" in finished(start_hook("get_requires_for_build_wheel"))
    build_env["CXX"] = "/nowhere/g++"
    assert "/nowhere/g++" in refusal(start_hook("get_requires_for_build_wheel"))


def test_no_framework_is_asked_for(start_hook: StartHook, build_env: dict[str, str]) -> None:
    del build_env["HVD_HOROVOD_SDIST"]
    needed = finished(start_hook("get_requires_for_build_wheel"))
    assert needed == "['pip>=23.1', 'setuptools<81', 'wheel']"


def test_options_that_this_build_has_not_are_refused(
    start_hook: StartHook, build_env: dict[str, str]
) -> None:
    build_env["HOROVOD_GPU_OPERATIONS"] = "NCCL"
    assert "HOROVOD_GPU_OPERATIONS=NCCL" in refusal(start_hook("build_wheel", "."))
    build_env["HOROVOD_GPU_OPERATIONS"] = "0"
    build_env["HVD_WHEEL_PLATFORM"] = "win32"
    assert "manylinux_2_28_aarch64" in refusal(start_hook("get_requires_for_build_wheel"))


def test_a_wrong_hash_is_refused(
    start_hook: StartHook, fake_compiler: Path, build_env: dict[str, str], tmp_path: Path
) -> None:
    forged = tmp_path / "horovod-0.28.1.tar.gz"
    forged.write_bytes(Path(build_env["HVD_HOROVOD_SDIST"]).read_bytes() + b"\0")
    build_env["HVD_HOROVOD_SDIST"] = str(forged)
    assert "wrong hash" in refusal(start_hook("get_requires_for_build_wheel"))
    assert "wrong hash" in refusal(start_hook("build_wheel", tmp_path))
    build_env["HVD_HOROVOD_SDIST"] = str(tmp_path / "gone")
    assert "no such file" in refusal(start_hook("build_wheel", tmp_path))


def test_a_failed_download_is_one_line(
    start_hook: StartHook, fake_compiler: Path, build_env: dict[str, str], tmp_path: Path
) -> None:
    del build_env["HVD_HOROVOD_SDIST"]
    build_env.update(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    message = refusal(start_hook("build_wheel", tmp_path))
    assert "could not be downloaded by pip" in message
    assert "HVD_HOROVOD_SDIST" in message


def test_the_source_is_fetched_from_inside_of_pips_build(
    sdist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A current pip tells the hook where its backend lies; the pip that the hook starts for the
    source would look for setuptools there. (pip 26.3 does.)"""
    monkeypatch.setenv("_PYPROJECT_HOOKS_BACKEND_PATH", str(tmp_path))
    monkeypatch.setenv("_PYPROJECT_HOOKS_BACKEND_PATH_JSON", json.dumps([str(tmp_path)]))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(sdist.parent))
    assert source.verified(source._download(tmp_path)) == tmp_path / sdist.name


def test_source_that_does_not_compile_is_one_line(
    start_hook: StartHook, fake_compiler: Path, build_env: dict[str, str], tmp_path: Path
) -> None:
    script = Path(build_env["CXX"])
    script.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo fake && exit\n'
        "echo 'a.cc:1:2: error: no such thing'\nexit 1\n"
    )
    message = refusal(start_hook("build_wheel", tmp_path))
    assert "a.cc:1:2: error: no such thing" in message
    log = Path(message.rpartition("the whole log: ")[2])
    assert "no such thing" in log.read_text()


def test_a_library_that_would_not_load_elsewhere_is_refused(
    start_hook: StartHook, fake_compiler: Path, build_env: dict[str, str], tmp_path: Path
) -> None:
    script = Path(build_env["CXX"])
    script.write_text(script.read_text().replace("-nostdlib -x c /dev/null", f"{tmp_path}/f.c"))
    (tmp_path / "f.c").write_text("int MPI_Init(void) { return 0; }\n")
    assert "exports MPI_Init" in refusal(start_hook("build_wheel", tmp_path))


@pytest.mark.parametrize("folder", ["/proc/nowhere"])
def test_a_cache_that_cannot_be_written_is_named(
    start_hook: StartHook, build_env: dict[str, str], folder: str
) -> None:
    build_env["HVD_CACHE"] = folder
    assert "set HVD_CACHE" in refusal(start_hook("get_requires_for_build_wheel"))
