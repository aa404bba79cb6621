"""Free memory: the least of the machine's and of each cgroup's."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvdcore.runtime.memory import free_memory_bytes, resident_bytes


def make(folder: Path, names: tuple[str, str, str], limit: str, usage: int, cached: int) -> None:
    folder.mkdir(parents=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 1000 kB\n")
    return folder


def test_the_machine_where_there_is_no_limit(proc: Path, tmp_path: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/\n")
    make(tmp_path / "fs", V2, "max", 1, 0)
    assert free_memory_bytes(proc, tmp_path / "fs") == 1_024_000


def test_version_2_counts_every_level(proc: Path, tmp_path: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/job/rank\n")
    make(tmp_path / "fs" / "job" / "rank", V2, "900000", 400_000, 0)
    assert free_memory_bytes(proc, tmp_path / "fs") == 500_000
    (tmp_path / "fs" / "job" / "memory.max").write_text("600000\n")
    (tmp_path / "fs" / "job" / "memory.current").write_text("450000\n")
    (tmp_path / "fs" / "job" / "memory.stat").write_text("inactive_file 20000\n")
    assert free_memory_bytes(proc, tmp_path / "fs") == 170_000


def test_version_1(proc: Path, tmp_path: Path) -> None:
    (proc / "self" / "cgroup").write_text("5:cpu:/x\n4:memory:/job\n")
    make(tmp_path / "fs" / "memory" / "job", V1, "900000", 400_000, 50_000)
    assert free_memory_bytes(proc, tmp_path / "fs") == 550_000


def test_this_process_has_some() -> None:
    assert free_memory_bytes() > 1 << 20
    assert 1 << 20 < resident_bytes() < 1 << 40
