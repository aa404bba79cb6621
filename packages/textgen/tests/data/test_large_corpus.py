"""A corpus larger than the memory that preparing it takes, and documents as large."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from textgen.testing import command, environment, real_books, write_library

pytestmark = [pytest.mark.proof, pytest.mark.ranks]

GIGABYTE = 10**9
MEMORY = 1_500_000_000


def memory_of(process: psutil.Process) -> int:
    """Bytes of a process and all below it: the proportional set size, shared pages by shares."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):  # it has just ended
            total += one.memory_full_info().pss
    return total


def peak_of(line: list[str], cache: Path) -> tuple[int, str]:
    """The largest memory that a command and its ranks took, looked at ten times a second."""
    peak = 0
    with (
        (cache.parent / "stderr").open("w+") as errors,
        subprocess.Popen(
            line, env=environment(cache), stdout=subprocess.PIPE, stderr=errors, text=True
        ) as job,
    ):
        root = psutil.Process(job.pid)
        while job.poll() is None:
            peak = max(peak, memory_of(root))
            time.sleep(0.1)
        errors.seek(0)
        assert job.returncode == 0, errors.read()
        assert job.stdout is not None
        return peak, job.stdout.read()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    folder = tmp_path_factory.mktemp("large") / "books"
    yield folder, write_library(folder, GIGABYTE, real_books())
    for path in folder.iterdir():
        path.unlink()


OPEN = """
import re, sys, time
from pathlib import Path
from textgen.data.prepare import prepare
from textgen.data.config import DataConfig
began = time.perf_counter()
corpus = prepare(DataConfig(data=sys.argv[1]), cache_dir=Path(sys.argv[2]))
tokens, targets = corpus.train.batch([0, len(corpus.train) - 1])
seconds = time.perf_counter() - began
assert tokens.shape == (2, 128)
maps = Path("/proc/self/smaps").read_text()
print(re.search(r"train\\.bin\\n.*?^Rss: +(\\d+) kB", maps, re.S | re.M)[1], seconds)
"""


def test_a_gigabyte_is_prepared_in_bounded_memory(
    library: tuple[Path, int], tmp_path: Path
) -> None:
    folder, num_bytes = library
    cache = tmp_path / "cache"
    began = time.monotonic()
    peak, output = peak_of(command("prepare", "--data", str(folder), "--np", "2"), cache)
    print(f"{num_bytes / 1e6:.0f} MB, {time.monotonic() - began:.0f} s, peak {peak / 1e6:.0f} MB")
    print(output)
    assert peak < MEMORY
    (corpus,) = (cache / "corpora").iterdir()
    meta = json.loads((corpus / "meta.json").read_text())
    assert meta["bytes"] == sum(part["bytes"] for part in meta["parts"].values()) == num_bytes
    assert meta["skipped"] == {}
    assert meta["near_duplicates"]["documents"] == 0
    # Opened, and a batch from both ends: some pages of a file of hundreds of megabytes are read.
    size = (corpus / "train.bin").stat().st_size
    line = [sys.executable, "-c", OPEN, str(folder), str(cache)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    resident, seconds = done.stdout.split()
    print(f"found again, opened and a batch read in {float(seconds):.2f} s")
    assert int(resident) * 1024 < size / 50


@pytest.mark.parametrize("form", ["blanks", "no blanks", "json"])
def test_one_enormous_line(tmp_path: Path, form: str) -> None:
    """300 MB; a text file of it is never in memory, a line of JSON is, five times."""
    path = tmp_path / ("book.jsonl" if form == "json" else "book.txt")
    unit = "colourless green ideas sleep furiously " if form != "no blanks" else "天地玄黃宇宙洪荒"
    count = 300_000_000 // len(unit.encode())
    with path.open("w", encoding="utf-8") as file:
        file.write('{"text": "' if form == "json" else "")
        for _ in range(100):
            file.write(unit * (count // 100))
        file.write('"}\n' if form == "json" else "")
    peak, output = peak_of(command("prepare", "--data", str(path), "--np", "2"), tmp_path / "cache")
    print(f"{form}: peak {peak / 1e6:.0f} MB")
    print(output)
    assert peak < (2 * MEMORY if form == "json" else MEMORY)
