"""The library of horovod.common: what is said where it cannot be loaded, and without frameworks."""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from rank_checks import environment

pytest.importorskip("horovod.common.library")

from horovod.common import library

BARE = ("torch", "tensorflow", "jax", "keras", "numpy", "mpi4py")


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in environment().items() if k not in ("OMPI_COMM_WORLD_RANK",)}
    return subprocess.run(
        command, env={**kept, **variables}, capture_output=True, text=True, timeout=120
    )


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-c", code, **variables)


def complaint(path: Path) -> str:
    """The last line of what importing Horovod says with another library."""
    done = python("import horovod.common.collectives", HOROVOD_LIBRARY=str(path))
    assert done.returncode == 1, done
    return done.stderr.strip().splitlines()[-1]


def with_processor(number: int, path: Path) -> Path:
    """A copy of the library's head that says to be for another processor."""
    content = bytearray(Path(library.path()).read_bytes()[:4096])
    struct.pack_into("<H", content, 18, number)
    path.write_bytes(content)
    return path


def test_missing_library(tmp_path: Path) -> None:
    text = complaint(tmp_path / "none.so")
    assert text.startswith("ImportError: Horovod's core library is missing")
    assert "none.so" in text
    assert "reinstall" in text


def test_another_processor(tmp_path: Path) -> None:
    other, name = (62, "x86_64") if os.uname().machine != "x86_64" else (183, "aarch64")
    text = complaint(with_processor(other, tmp_path / "other.so"))
    assert f"built for {name}" in text
    assert f"this machine is {os.uname().machine}" in text


def test_no_library_at_all(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no ELF file")
    assert "cannot be loaded" in complaint(tmp_path / "text.so")


def test_another_library() -> None:
    with open("/proc/self/maps") as maps:
        libc = next(line.split()[-1] for line in maps if "libc.so" in line or "libc-" in line)
    assert "is no build of Horovod" in complaint(Path(libc))


def test_musl_is_named() -> None:
    text = library.why_not_loaded(
        library.path(), "Error relocating libhorovod.so: symbol not found"
    )
    assert "glibc" in text
    assert "musl" in text


def test_control_the_right_library_loads() -> None:
    assert python("import horovod.common.collectives").returncode == 0


def test_one_rank_without_launcher_and_framework() -> None:
    code = (
        "import sys, horovod.common.basics as b; h = b.HorovodBasics(); h.init();"
        f"print(h.rank(), h.size(), sorted(set(sys.modules) & set({BARE})))"
    )
    done = python(code)
    assert (done.returncode, done.stdout.split("\n")[0]) == (0, "0 1 []"), done


def test_check_build_loads_no_framework() -> None:
    done = run("horovodrun", "--check-build", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "[X] Gloo" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "horovod.runner.launch" in imported
    assert not imported & set(BARE), imported & set(BARE)


def test_rank_before_init_is_an_error() -> None:
    done = python("from horovod.common.basics import HorovodBasics as B; B().rank()")
    assert done.stderr.strip().endswith("Horovod has not been initialized; use hvd.init().")


@pytest.mark.parametrize(
    ("module", "needed", "way_out"),
    [("mxnet", "mxnet", "there are horovod.numpy"), ("spark", "pyspark", "pip install pyspark")],
)
def test_a_part_that_is_not_there_says_what_is(module: str, needed: str, way_out: str) -> None:
    if importlib.util.find_spec(needed) is not None:
        pytest.skip(f"{needed} is installed")
    done = python(f"import horovod.{module}")
    assert done.returncode == 1, done
    assert way_out in done.stderr.strip().splitlines()[-1]
