"""Data sets from a small hub of our own on this machine; and a hub that misbehaves."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from news_cls.testing import news, write_json_lines

pytest.importorskip("huggingface_hub", reason="pip install './packages/news_cls[hub]'")
REVISION = "a" * 40


class HubHandler(http.server.BaseHTTPRequestHandler):
    """What the client asks: what is in a repository, and its files. Repositories are folders; the
    name of one says how the hub answers."""

    def __init__(self, root: Path, asked: Counter[str], *args: Any) -> None:
        self.root, self.asked = root, asked
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlparse(self.path).path.strip("/")
        if path.startswith("api/datasets/"):
            return self.about(*path.split("/")[2:4])
        repository, _, rest = path.partition("/resolve/")
        return self.file(repository.split("/")[-1], self.root / repository / rest.split("/", 1)[1])

    def about(self, owner: str, name: str) -> None:
        folder = self.root / "datasets" / owner / name
        if name == "stuck":
            time.sleep(3)
        if name == "failing":
            return self.answer(500, b"")
        if not folder.is_dir():
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        about = {"id": f"{owner}/{name}", "sha": REVISION, "private": False, "gated": False}
        about |= {"siblings": [{"rfilename": name} for name in names], "tags": []}
        return self.answer(200, json.dumps(about).encode())

    def file(self, name: str, path: Path) -> None:
        if name == "forbidden":
            return self.answer(403, b"")
        raw = path.read_bytes()
        headers = {"ETag": f'"{len(raw)}-{hash(raw)}"', "X-Repo-Commit": REVISION}
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(raw) - 1}/{len(raw)}"
        if self.command == "GET":
            self.asked[name] += 1
        pieces = [raw[first:]]
        if name == "slow":
            step = len(raw) // 4 + 1
            pieces = [raw[start : start + step] for start in range(first, len(raw), step)]
        if name == "cut" and self.asked[name] == 1:
            pieces = [raw[: len(raw) // 2]]
        if name == "always-cut":
            pieces = []
        return self.answer(206 if first else 200, pieces, headers, len(raw) - first)

    def answer(
        self, code: int, body: bytes | list[bytes], headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:  # fmt: skip
        pieces = [body] if isinstance(body, bytes) else body
        length = sum(map(len, pieces)) if length is None else length
        self.send_response(code)
        for name, value in ({"Content-Length": str(length)} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            for number, piece in enumerate(pieces):
                time.sleep(0.3 * (number > 0))
                self.wfile.write(piece)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Counter[str]]]:
    """The address of a hub with data sets, and how often each one's files were fetched."""
    root = tmp_path_factory.mktemp("hub")
    for name in ("ag", "slow", "cut", "always-cut", "forbidden"):
        write_parquet(root / "datasets" / "me" / name / "data")
    for name in ("de", "en"):
        write_json_lines(root / "datasets" / "me" / "many" / name / "train.jsonl", news(24))
    (root / "datasets" / "me" / "coded").mkdir()
    code = "raise SystemExit('remote code ran')\n"
    (root / "datasets" / "me" / "coded" / "coded.py").write_text(code)
    asked: Counter[str] = Counter()
    handler = partial(HubHandler, root, asked)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def write_parquet(folder: Path) -> None:
    folder.mkdir(parents=True)
    for part, rows in (("train", news(24)), ("test", news(8, first=100))):
        table = pa.table(
            {"text": [f"{t} {d}" for _, t, d in rows], "label": [label for label, _, _ in rows]}
        )
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet")


SCRIPT = """
import json, sys
from hvdcore.errors import UserError
from news_cls.config import TrainConfig
from news_cls.prepare import prepare
for changes in json.loads(sys.argv[1]):
    try:
        data = prepare(TrainConfig(**changes))
        print(json.dumps({"key": data.key, **data.meta}))
    except UserError as error:
        print(json.dumps({"error": error.problems}))
"""


def prepared(address: str, folder: Path, *changes: dict[str, str]) -> list[dict[str, Any]]:
    """The meta.json, or the error, of each configuration, in a process that knows this hub."""
    environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(folder / "home")}
    environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HUB_ETAG_TIMEOUT": "1"}
    environment |= {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    environment.pop("HF_HUB_OFFLINE", None)
    line = [sys.executable, "-c", SCRIPT, json.dumps(changes)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_from_the_hub(hub: tuple[str, Counter[str]], tmp_path: Path) -> None:
    address, asked = hub
    ag, slow, cut, again, de, many, column, nothing, coded = prepared(
        address, tmp_path,
        {"data": "me/ag"}, {"data": "me/slow"}, {"data": "me/cut"}, {"data": "me/ag"},
        {"data": "me/many:de"}, {"data": "me/many"}, {"data": "me/ag", "text_column": "body"},
        {"data": "me/nothing"}, {"data": "me/coded"},
    )  # fmt: skip
    assert ag["classes"] == ["World", "Sports", "Business", "Sci/Tech"]
    assert (sum(ag["parts"].values()), ag["source"]) == (32, "me/ag")
    assert slow["key"] == cut["key"] == again["key"] == ag["key"]
    assert asked["ag"] == 2  # train and test, once
    assert asked["cut"] == 3  # one of them in two pieces
    assert sum(de["parts"].values()) == 24
    assert "data: me/many: several sets; give one of me/many:de, me/many:en" in many["error"]
    assert "no column 'body'; it has text, label" in column["error"][0]
    assert "no public data set of that name on the hub; give sample" in nothing["error"][0]
    assert "data: me/coded: no .parquet, .jsonl, .json, .csv, .tsv on the hub" in coded["error"][0]

    # With no hub to reach, what was prepared is still found; what was not is a clear line.
    found, unknown = prepared(
        "http://127.0.0.1:9", tmp_path, {"data": "me/ag"}, {"data": "me/nothing"}
    )
    assert found["key"] == ag["key"]
    assert "the hub cannot be reached" in unknown["error"][0]


def test_a_hub_that_misbehaves(hub: tuple[str, Counter[str]], tmp_path: Path) -> None:
    found = prepared(
        hub[0], tmp_path,
        {"data": "me/stuck"}, {"data": "me/failing"}, {"data": "me/forbidden"},
        {"data": "me/always-cut"},
    )  # fmt: skip
    assert [len(one["error"]) for one in found] == [1, 1, 1, 1]
    stuck, failing, forbidden, cut = (one["error"][0] for one in found)
    assert "no file or folder 'me/stuck', and the hub cannot be reached (" in stuck
    assert "timed out" in stuck
    assert "the hub cannot be reached (" in failing
    assert "500" in failing
    for line in (forbidden, cut):
        assert "the hub did not give data/test-00000-of-00001.parquet (" in line
        assert "try again, or fetch it by other means and give its path" in line


def test_without_the_client_the_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from hvdcore.errors import UserError
    from news_cls.config import TrainConfig
    from news_cls.prepare import prepare

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        UserError, match=r"needs huggingface_hub; pip install '\./packages/news_cls"
    ):
        prepare(TrainConfig(data="nobody/nothing"))
