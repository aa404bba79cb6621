"""Data sets and tokenizers from the hub, from a small hub of our own on this machine."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hvdcore.testing.hub import NOBODY, Hub, serve_hub
from textgen.tokenizer.tokenizer import train_bpe


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with four data sets and a tokenizer."""
    root = tmp_path_factory.mktemp("hub")
    for name in ("books", "sharded", "tarred", "coded"):
        (root / "datasets" / "me" / name).mkdir(parents=True)
    rows = [f"Book {number}. " * 20 for number in range(60)]
    table = pa.table({"title": rows, "text": rows})
    pq.write_table(table, root / "datasets" / "me" / "books" / "train.parquet")
    for number in range(3):
        rows_of_file = [json.dumps({"text": row}) + "\n" for row in rows[number::3]]
        path = root / "datasets" / "me" / "sharded" / f"train-{number:05}-of-00003.jsonl"
        path.write_text("".join(rows_of_file))
    with tarfile.open(root / "datasets" / "me" / "tarred" / "train.tar", "w") as archive:
        for name in ("0.txt", "1.txt"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    code = "raise SystemExit('remote code ran')\n"
    (root / "datasets" / "me" / "coded" / "coded.py").write_text(code)
    train_bpe([" ".join(rows)], 280).save(root / "me" / "tokenizer")
    with serve_hub(root) as running:
        yield running


SCRIPT = """
import json, sys
import time
time.sleep = lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.05))  # between two tries
from pathlib import Path
from hvdcore.errors import UserError
from textgen.data.prepare import prepare
from textgen.data.config import DataConfig
from textgen.tokenizer.load import load_tokenizer
for number, changes in enumerate(json.loads(sys.argv[2])):
    settings = {"tokenizer": "byte", "context_length": 8} | changes
    try:
        print(json.dumps(prepare(DataConfig(**settings), cache_dir=Path(sys.argv[1])).meta))
    except UserError as error:
        print(json.dumps({"error": str(error)}))
"""


def prepared(
    hub: Hub, folder: Path, *changes: dict[str, str], address: str | None = None
) -> list[dict[str, Any]]:
    """The meta.json, or the error, of each configuration, in a process that knows this hub."""
    environment = {**os.environ, **hub.environment(folder / "home", address)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder / "cache"), json.dumps(changes)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # transformers' five retries for each of its files: a minute, and a page of warnings.
    assert "Retrying" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    books, tokenized, column, nothing, no_tokenizer, tarred, coded = prepared(
        hub,
        tmp_path,
        {"data": "me/books"},
        {"data": "me/books", "tokenizer": "me/tokenizer"},
        {"data": "me/books", "text_column": "body"},
        {"data": "me/nothing"},
        {"tokenizer": "me/nothing"},
        {"data": "me/tarred"},
        {"data": "me/coded"},
    )
    assert (books["documents"], books["source"]) == (60, "me/books")
    assert tokenized["tokenizer"]["vocab_size"] <= 280
    assert tokenized["fingerprint"] == books["fingerprint"]
    assert "no column 'body'; it has text, title" in column["error"]
    assert "no public data set of that name on the hub" in nothing["error"]
    assert "no public model of that name on the hub" in no_tokenizer["error"]
    assert "is stored as webdataset; only parquet" in tarred["error"]
    assert coded["error"].startswith("data: me/coded:")
    assert "remote code ran" not in coded["error"]

    # With no hub to reach, what was prepared is still found; what was not is a clear line.
    again, other, copied, unknown = prepared(
        hub,
        tmp_path,
        {"data": "me/books"},
        {"data": "me/nothing"},
        {"data": "me/books", "tokenizer": "me/tokenizer"},
        {"tokenizer": "me/nothing"},
        address=NOBODY,
    )
    assert again["fingerprint"] == books["fingerprint"]
    assert "the hub cannot be reached" in other["error"]
    assert copied["tokenizer"] == tokenized["tokenizer"]
    assert "the hub cannot be reached" in unknown["error"]


def test_a_hub_that_fails_midway_is_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    hub.trouble["train-00002-of-00003.jsonl"] = "broken"
    (failed,) = prepared(hub, tmp_path, {"data": "me/sharded"})
    assert failed["error"].startswith("data: me/sharded: ")
    assert failed["error"].endswith("; what was read is kept, start again")
    assert len(failed["error"].splitlines()) == 1
    assert not (tmp_path / "cache" / "corpora").exists()
    read = sorted(path.name for path in (tmp_path / "cache").glob("work/*/read/*.done"))
    assert read == ["000000.done", "000001.done"]

    # What was read is not fetched again (the first file is looked into for the columns). The third
    # is slow.
    hub.fetched.clear()
    hub.trouble["train-00002-of-00003.jsonl"] = "slow"
    whole, again = prepared(hub, tmp_path, {"data": "me/sharded"}, {"data": "me/books"})
    assert hub.fetched["datasets/me/sharded/train-00001-of-00003.jsonl"] == 0
    assert hub.fetched["datasets/me/sharded/train-00002-of-00003.jsonl"] > 0
    assert whole["documents"] == 60
    assert whole["fingerprint"] == again["fingerprint"]
    assert not list((tmp_path / "cache" / "work").glob("*/"))


def test_what_datasets_has_on_disk_needs_no_hub(hub: Hub, tmp_path: Path) -> None:
    """A login node fetches the data set with `datasets`; a compute node has no network."""
    fetch = "import datasets; datasets.load_dataset('me/books')"
    environment = {**os.environ, **hub.environment(tmp_path / "home")}
    subprocess.run([sys.executable, "-c", fetch], env=environment, check=True, capture_output=True)
    (books,) = prepared(hub, tmp_path, {"data": "me/books"}, address=NOBODY)
    assert "error" not in books, books
    rows = [f"Book {number}. " * 20 for number in range(60)]
    assert (books["documents"], books["bytes"]) == (60, sum(map(len, rows)))
