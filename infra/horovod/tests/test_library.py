"""The library's tables: what it exports, what it needs; and two copies of it in one process."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from core_library import core_library
from horovod_wheel import elf
from horovod_wheel.elf import check_library, read_library
from horovod_wheel.errors import BuildError
from launch import clean_environment

HERE = Path(__file__).parent
HEADER = HERE.parent / "core/horovod_c.h"


def declared() -> set[str]:
    """The functions that the header declares."""
    code = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    return set(re.findall(r"\b(horovod_\w+)\(", code)) - {"horovod_callback"}


def test_it_exports_what_the_header_declares_and_nothing_else() -> None:
    exports = read_library(core_library()).exports
    assert declared() <= exports
    assert len(declared()) > 55
    assert not [name for name in exports if not name.startswith("horovod_")]


def test_it_needs_no_python_no_framework_and_no_mpi() -> None:
    needed = check_library(core_library()).needed
    assert all(elf.ALLOWED.fullmatch(name) for name in needed)
    assert any(name.startswith("libc.") for name in needed)
    text = core_library().read_bytes()
    for word in (b"PyObject", b"c10::", b"libtensorflow", b"libpython"):
        assert word not in text


def test_readelf_agrees() -> None:
    if shutil.which("readelf") is None:
        pytest.skip("no readelf")
    library = read_library(core_library())
    text = subprocess.run(
        ["readelf", "-Wd", core_library()], capture_output=True, text=True, check=True
    ).stdout
    assert tuple(re.findall(r"\(NEEDED\).*\[(.*)\]", text)) == library.needed
    text = subprocess.run(
        ["readelf", "-W", "--dyn-syms", core_library()], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split() for line in text.splitlines() if re.match(r"\s+\d+:", line)]
    names = {r[7] for r in rows if len(r) > 7 and r[6] != "UND" and r[4] in ("GLOBAL", "WEAK")}
    assert names == library.exports
    versions = set(re.findall(r"@(GLIBC_[0-9.]+)", text))
    assert versions == {v for v in library.versions if v.startswith("GLIBC_")}


def test_the_check_refuses_what_must_not_be(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to make libraries with")
    (tmp_path / "a.c").write_text("int other(void) { return 0; }\n")
    (tmp_path / "b.c").write_text("extern int other(void); int horovod_x(void) { return other(); }")
    for name, extra in (("a", []), ("b", ["liba.so"])):
        command = ["cc", "-shared", "-fPIC", "-o", f"lib{name}.so", f"{name}.c", *extra]
        subprocess.run(command, check=True, cwd=tmp_path)
    with pytest.raises(BuildError, match=r"liba\.so exports other"):
        check_library(tmp_path / "liba.so")
    with pytest.raises(BuildError, match=r"libb\.so needs liba\.so"):
        check_library(tmp_path / "libb.so")
    with pytest.raises(BuildError, match=r"needs glibc 2[0-9.]+, and is to run with 2\.1"):
        check_library(core_library(), (2, 1))


def test_auditwheel_finds_nothing_foreign(tmp_path: Path) -> None:
    """The library in a wheel of nothing else: no library to carry along but the system's."""
    pytest.importorskip("auditwheel", reason="auditwheel is not installed")
    from horovod_wheel.settings import read_settings
    from horovod_wheel.wheel import write_wheel

    tree = tmp_path / "tree"
    (tree / "horovod").mkdir(parents=True)
    (tree / "LICENSE").touch()
    lib = tmp_path / "lib/horovod/lib"
    lib.mkdir(parents=True)
    shutil.copy(core_library(), lib)
    tag = f"linux_{platform.machine()}"
    settings, project = read_settings({}), HERE.parent
    wheel = write_wheel(settings, tag, project, tree, tmp_path / "lib", tmp_path)
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r'consistent with the\s+following platform tag: "manylinux_2_\d+_', done.stdout
    )


@pytest.mark.parametrize("mode", ["RTLD_LOCAL", "RTLD_GLOBAL"])
def test_two_copies_in_one_process(tmp_path: Path, mode: str) -> None:
    """Each starts, adds and stops by itself: upstream's crash in each other's virtual tables."""
    copies = [shutil.copy(core_library(), tmp_path / f"lib{name}.so") for name in "ab"]
    command = [sys.executable, "-B", "-c", _TWO, str(HERE), mode, *map(str, copies)]
    done = subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3.0", "4.0", "-1", "0", "5.0", "0", "6.0"]


_TWO = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
from core_abi import Core, Tensor
for path in sys.argv[3:]:
    ctypes.CDLL(path, mode=getattr(ctypes, sys.argv[2]))
one, two = (Core(path) for path in sys.argv[3:])
one.init()
two.init()
print(*one.allreduce([Tensor([3.0])], "x")[0][1], *two.allreduce([Tensor([4.0])], "x")[0][1])
one.lib.horovod_shutdown()
print(one.rank, two.rank, *two.allreduce([Tensor([5.0])], "x")[0][1])
one.init()
print(one.rank, *one.allreduce([Tensor([6.0])], None)[0][1])
one.lib.horovod_shutdown()
two.lib.horovod_shutdown()
"""
