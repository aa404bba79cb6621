"""Many processes, one corpus: the same bytes, nothing twice after a kill, one error for all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from textgen.data import chunks, documents, read
from textgen.data.config import DataConfig
from textgen.data.prepare import prepare
from textgen.data.work_queue import SharedWork, SourceFailed
from textgen.testing import command, environment, write_book

NUM_BOOKS = 24
UNIT_BYTES, TASK_BYTES = 20_000, 9_000  # of some 240,000 in all

SCRIPT = f"""
import sys, time
from pathlib import Path
from textgen.data import chunks
from textgen.data import documents
from textgen.data.prepare import prepare
from textgen.data.config import DataConfig
documents.UNIT_BYTES, chunks.TASK_BYTES = {UNIT_BYTES}, {TASK_BYTES}
print(prepare(DataConfig(data=sys.argv[1], vocab_size=300, context_length=8),
              lambda *_: time.sleep(0.01), cache_dir=Path(sys.argv[2])).path)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Books of many sizes, the largest longer than a task, in three forms."""
    folder = tmp_path_factory.mktemp("library") / "books"
    for number in range(NUM_BOOKS):
        write_book(folder / f"{number}.txt", num_words=300 + 150 * number, seed=number)
    with (folder / "rows.jsonl").open("w") as rows:
        for number in range(NUM_BOOKS):
            text = write_book(folder / "row", num_words=300, seed=100 + number).read_text()
            rows.write(json.dumps({"text": text}) + "\n")
    (folder / "row").unlink()
    return folder


def config(data: Path) -> DataConfig:
    return DataConfig(data=str(data), vocab_size=300, context_length=8)


def content(corpus: Path) -> dict[str, bytes]:
    """Every file, without the seconds in meta.json."""
    files = {p.name: p.read_bytes() for p in sorted(corpus.rglob("*")) if p.is_file()}
    meta = json.loads(files.pop("meta.json"))
    del meta["seconds"], meta["source"]
    return files | {"meta": json.dumps(meta, sort_keys=True).encode()}


@pytest.fixture(scope="module")
def expected(library: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """From one process that reads one unit and makes one task of each split."""
    return content(prepare(config(library), cache_dir=tmp_path_factory.mktemp("one")).path)


def start(data: Path, cache: Path) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", SCRIPT, str(data), str(cache)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes_makes_the_same_corpus(
    library: Path, expected: dict[str, bytes], tmp_path: Path, processes: int
) -> None:
    jobs = [start(library, tmp_path) for _ in range(processes)]
    paths = {job.communicate()[0].strip() for job in jobs}
    assert [job.returncode for job in jobs] == [0] * processes
    assert len(paths) == 1
    assert content(Path(paths.pop())) == expected
    assert not list((tmp_path / "work").glob("*/"))


@pytest.mark.parametrize("stage", ["read", "tokenize"])
def test_after_a_kill_the_next_run_goes_on(
    library: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    job = start(library, tmp_path)
    while len(list(tmp_path.glob(f"work/*/{stage}/*.done"))) < 3:
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    read_before = len(list(tmp_path.glob("work/*/read/*.done")))
    tokenized_before = len(list(tmp_path.glob("work/*/tokenize/*.done")))
    (work,) = (tmp_path / "work").glob("*/")
    total = len(json.loads((work / "plan" / "000000.done").read_text())["units"])
    assert 3 <= read_before <= total
    monkeypatch.setattr(documents, "UNIT_BYTES", UNIT_BYTES)
    monkeypatch.setattr(chunks, "TASK_BYTES", TASK_BYTES)
    made: list[str] = []
    write_unit = read.write_unit

    def counted(documents: object, prefix: Path, *rest: object) -> object:
        made.append(prefix.name)
        return write_unit(documents, prefix, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(read, "write_unit", counted)
    stages: list[tuple[str, int]] = []
    corpus = prepare(
        config(library), lambda name, done, _: stages.append((name, done)), cache_dir=tmp_path
    )
    assert len(made) == total - read_before
    assert content(corpus.path) == expected
    assert not list((tmp_path / "work").glob("*/"))
    if stage == "tokenize":
        first = next(done for name, done in stages if name == "tokenize")
        assert tokenized_before >= 3
        assert first >= TASK_BYTES / 2  # the bar begins where the killed run was


def test_a_waiting_process_takes_over_from_a_killed_one(
    library: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    jobs = [start(library, tmp_path) for _ in range(2)]
    while len(list(tmp_path.glob("work/*/read/*.done"))) < 3:
        time.sleep(0.005)
    jobs[0].send_signal(signal.SIGKILL)
    jobs[0].communicate()
    assert content(Path(jobs[1].communicate()[0].strip())) == expected


def test_what_is_wrong_for_one_ends_all_and_leaves_nothing(tmp_path: Path) -> None:
    found: list[str] = []
    seen = threading.Barrier(3)

    def task(number: int, prefix: Path, advance: object) -> dict[str, int]:
        seen.wait(10)  # all three are at work
        if number == 1:
            raise UserError("data: book 1: wrong")
        assert callable(advance)
        while True:
            time.sleep(0.01)
            advance(1)

    def work() -> None:
        try:
            with SharedWork(tmp_path, "request", lambda *_: None) as shared:
                shared.each("read", [1, 1, 1], task)
        except UserError as error:
            found.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == ["data: book 1: wrong"] * 3
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["request.lock"]


def test_a_source_that_failed_is_asked_again(tmp_path: Path) -> None:
    made: list[int] = []

    def task(number: int, prefix: Path, advance: object) -> dict[str, int]:
        made.append(number)
        if number == 1 and made.count(1) == 1:
            raise SourceFailed("data: the hub hung up")
        return {"number": number}

    with (
        pytest.raises(SourceFailed, match="hung up"),
        SharedWork(tmp_path, "request", lambda *_: None) as work,
    ):
        work.each("read", [1, 1, 1], task)
    with SharedWork(tmp_path, "request", lambda *_: None) as work:
        results = work.each("read", [1, 1, 1], task)
    assert [result["number"] for result in results] == [0, 1, 2]
    assert made == [0, 1, 1, 2]


@pytest.mark.ranks
def test_textgen_prepare_on_two_ranks(
    library: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    line = ["prepare", "--data", str(library), "--vocab-size", "300", "--context-length", "8"]
    env = environment(tmp_path)
    done = subprocess.run(
        command(*line, "--np", "2"), env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cache: ") == 1  # rank 0 alone speaks
    (corpus,) = (tmp_path / "corpora").iterdir()
    assert content(corpus) == expected
    (library / "bad.jsonl").write_text('{"text": "cut')
    try:
        wrong = subprocess.run(
            command(*line, "--np", "2"), env=env, capture_output=True, text=True, check=False
        )
    finally:
        (library / "bad.jsonl").unlink()
    assert wrong.returncode == 2
    assert "bad.jsonl line 1: not JSON" in wrong.stderr
    assert all(text.startswith("error: ") for text in wrong.stderr.splitlines()), wrong.stderr
    assert not list((tmp_path / "work").glob("*/"))
