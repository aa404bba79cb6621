"""Data sets and tokenizers from the hub, from a small hub of our own on this machine."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlparse

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textgen.tokenizer import train_bpe

REVISION = "a" * 40


class HubHandler(http.server.BaseHTTPRequestHandler):
    """What the clients ask: what is in a repository, and its files. Repositories are folders."""

    asked: ClassVar[list[str]] = []
    """Files that were fetched."""

    def __init__(self, root: Path, *args: Any) -> None:
        self.root = root
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlparse(self.path).path.strip("/")
        for kind in ("datasets", "models"):
            if path.startswith(f"api/{kind}/"):
                return self.api(kind, path.removeprefix(f"api/{kind}/").split("/"))
        if "/resolve/" in path:
            repository, _, rest = path.partition("/resolve/")
            return self.file(self.root / repository / rest.split("/", 1)[1])
        return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def do_POST(self) -> None:
        self.answer(404, b"{}")

    def api(self, kind: str, parts: list[str]) -> None:
        folder = self.root / ("datasets" if kind == "datasets" else "") / parts[0] / parts[1]
        if not folder.is_dir():
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        names = sorted(path.name for path in folder.iterdir())
        if "tree" in parts:
            if len(parts) > 4:  # a folder of the repository: there are none
                return self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            files = [
                {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": "b"}
                for name in names
            ]
            return self.answer(200, json.dumps(files).encode())
        about = {"id": "/".join(parts[:2]), "sha": REVISION, "private": False, "gated": False}
        about |= {"siblings": [{"rfilename": name} for name in names], "tags": []}
        return self.answer(200, json.dumps(about).encode())

    def file(self, path: Path) -> None:
        if self.command == "GET":
            self.asked.append(path.name)
        trouble = self.root / "trouble" / path.name
        if trouble.exists() and self.command == "GET":
            if trouble.read_text() == "hangs up":
                return self.hang_up(path)
            time.sleep(float(trouble.read_text()))
        if not path.is_file():
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", **self.commit()})
        raw = path.read_bytes()
        tag = {"ETag": f'"{hashlib.sha256(raw).hexdigest()}"', **self.commit()}
        wanted = self.headers.get("Range")
        if not wanted:
            return self.answer(200, raw, tag)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(raw)), len(raw) - 1) + 1
        tag["Content-Range"] = f"bytes {start}-{stop - 1}/{len(raw)}"
        return self.answer(206, raw[start:stop], tag)

    def hang_up(self, path: Path) -> None:
        """Promise the file, send a bit of it and break off."""
        self.send_response(200)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        self.wfile.write(path.read_bytes()[:20])
        self.close_connection = True

    def commit(self) -> dict[str, str]:
        return {"X-Repo-Commit": REVISION}

    def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address and the root folder of a hub with three data sets and a tokenizer."""
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
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(HubHandler, root))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", root
    server.shutdown()
    thread.join()
    server.server_close()


SCRIPT = """
import json, sys
import time
time.sleep = lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.05))  # between two tries
from pathlib import Path
from hvdcore.errors import UserError
from textgen.prepare import DataConfig, prepare
from textgen.tokenizer import load_tokenizer
for number, changes in enumerate(json.loads(sys.argv[2])):
    settings = {"tokenizer": "byte", "context_length": 8, "cache_dir": Path(sys.argv[1])} | changes
    try:
        print(json.dumps(prepare(DataConfig(**settings)).meta))
    except UserError as error:
        print(json.dumps({"error": str(error)}))
"""


def prepared(address: str, folder: Path, *changes: dict[str, str]) -> list[dict[str, Any]]:
    """The meta.json, or the error, of each configuration, in a process that knows this hub."""
    environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(folder / "home")}
    environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HUB_ETAG_TIMEOUT": "5"}
    environment.pop("HF_HUB_OFFLINE", None)
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


def test_from_the_hub(hub: tuple[str, Path], tmp_path: Path) -> None:
    books, tokenized, column, nothing, no_tokenizer, tarred, coded = prepared(
        hub[0],
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
        "http://127.0.0.1:9",
        tmp_path,
        {"data": "me/books"},
        {"data": "me/nothing"},
        {"data": "me/books", "tokenizer": "me/tokenizer"},
        {"tokenizer": "me/nothing"},
    )
    assert again["fingerprint"] == books["fingerprint"]
    assert "the hub cannot be reached" in other["error"]
    assert copied["tokenizer"] == tokenized["tokenizer"]
    assert "the hub cannot be reached" in unknown["error"]


def test_a_hub_that_fails_midway_is_gone_on_with(hub: tuple[str, Path], tmp_path: Path) -> None:
    address, root = hub
    trouble = root / "trouble"
    trouble.mkdir()
    (trouble / "train-00002-of-00003.jsonl").write_text("hangs up")
    (failed,) = prepared(address, tmp_path, {"data": "me/sharded"})
    assert failed["error"].startswith("data: me/sharded: ")
    assert failed["error"].endswith("; what was read is kept, start again")
    assert len(failed["error"].splitlines()) == 1
    assert not (tmp_path / "cache" / "corpora").exists()
    read = sorted(path.name for path in (tmp_path / "cache").glob("work/*/read/*.done"))
    assert read == ["000000.done", "000001.done"]

    # What was read is not fetched again (the first file is looked into for the columns). The third
    # is slow.
    HubHandler.asked.clear()
    (trouble / "train-00002-of-00003.jsonl").write_text("0.5")
    whole, again = prepared(address, tmp_path, {"data": "me/sharded"}, {"data": "me/books"})
    assert "train-00001-of-00003.jsonl" not in HubHandler.asked
    assert whole["documents"] == 60
    assert whole["fingerprint"] == again["fingerprint"]
    assert not list((tmp_path / "cache" / "work").glob("*/"))


def test_what_datasets_has_on_disk_needs_no_hub(hub: tuple[str, Path], tmp_path: Path) -> None:
    """A login node fetches the data set with `datasets`; a compute node has no network."""
    fetch = "import datasets; datasets.load_dataset('me/books')"
    environment = os.environ | {"HF_ENDPOINT": hub[0], "HF_HOME": str(tmp_path / "home")}
    environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    subprocess.run([sys.executable, "-c", fetch], env=environment, check=True, capture_output=True)
    (books,) = prepared("http://127.0.0.1:9", tmp_path, {"data": "me/books"})
    assert "error" not in books, books
    rows = [f"Book {number}. " * 20 for number in range(60)]
    assert (books["documents"], books["bytes"]) == (60, sum(map(len, rows)))
