"""The high-water mark of a process: what it once held, and not what its parent held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hvdcore.metrics.metrics import peak_resident_bytes

HELD = """
from hvdcore.metrics.metrics import peak_resident_bytes
before = peak_resident_bytes()
held = bytearray(300_000_000)
del held
print(before, peak_resident_bytes())
"""


def test_memory_that_was_given_back_counts() -> None:
    ballast = bytearray(400_000_000)  # a child takes over none of it
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert 1_000_000 < before < 300_000_000 < len(ballast)
    assert before + 250_000_000 < after < before + 350_000_000
    assert peak_resident_bytes() > 400_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="the file is Linux's")
def test_the_files_unit_is_kilobytes(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  9000 kB\nVmHWM:\t    2080 kB\n")
    assert peak_resident_bytes(status) == 2080 * 1024


def test_without_the_file_the_kernel_is_asked(tmp_path: Path) -> None:
    assert peak_resident_bytes(tmp_path / "none") >= peak_resident_bytes() * 0.9
