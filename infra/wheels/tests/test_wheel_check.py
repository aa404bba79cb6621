"""A wheel that would not run where its tag says is refused."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from wheel_check import check_wheel

ROOT = Path(__file__).resolve().parents[3]
METADATA = "horovod-1.dist-info/METADATA"


def wheel_of(folder: Path, source: str, tag: str, padding: int = 0) -> Path:
    """A wheel with one library made of `source`."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to make a library with")
    (folder / "a.c").write_text(source)
    library = folder / "liba.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "a.c"], check=True)
    wheel = folder / f"horovod-1-py3-none-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(METADATA, "Metadata-Version: 2.1\nName: horovod\nVersion: 1\n")
        archive.writestr("padding", b"x" * padding)
        archive.write(library, "horovod/lib/liba.so")
    return wheel


GOOD = "int horovod_a(void) { return 0; }\n"


def machine_tag() -> str:
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True).stdout.strip()
    if machine not in ("x86_64", "aarch64"):
        pytest.skip(f"no wheels for {machine}")
    return f"manylinux_2_28_{machine}"


def test_a_wheel_that_keeps_its_promise(tmp_path: Path) -> None:
    check_wheel(wheel_of(tmp_path, GOOD, machine_tag()), ROOT)


@pytest.mark.parametrize(
    ("source", "padding", "message"),
    [
        ("int MPI_Init(void) { return 0; }\n", 0, "exports MPI_Init"),
        (GOOD, 2_000_000, "bytes: 2000000 are enough"),
    ],
)
def test_a_wheel_that_does_not(tmp_path: Path, source: str, padding: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_wheel(wheel_of(tmp_path, source, machine_tag(), padding), ROOT)


def test_the_tag_counts(tmp_path: Path) -> None:
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[
        machine_tag().removeprefix("manylinux_2_28_")
    ]
    wheel = wheel_of(tmp_path, GOOD, f"manylinux_2_28_{other}")
    with pytest.raises(ValueError, match="another processor"):
        check_wheel(wheel, ROOT)
    newer = "#include <stdlib.h>\nvoid *horovod_a(void) { return realloc(0, 1); }\n"
    with pytest.raises(ValueError, match=r"needs glibc 2[0-9.]+, and is to run with 2\.1"):
        check_wheel(wheel_of(tmp_path, newer, machine_tag().replace("_28_", "_1_")), ROOT)
    with pytest.raises(ValueError, match="no manylinux"):
        check_wheel(wheel_of(tmp_path, GOOD, "linux_x86_64"), ROOT)
