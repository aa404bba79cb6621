"""A small model hub on this machine, for the tests: repositories are folders, and a repository's
name says how the hub answers."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

__all__ = ["NOBODY", "REVISION", "Hub", "serve_hub"]

REVISION = "a" * 40
"""The commit of every repository."""
_PAUSE_SECONDS = 0.3
NOBODY = "http://127.0.0.1:9"
"""An address where no hub answers."""


@dataclass
class Hub:
    """A running hub.

    Attributes:
        root: folder of the repositories, `owner/name` each.
        address: what `HF_ENDPOINT` is set to.
        fetched: how often each file was sent, by `owner/name/file`.
        asked: how often the hub was asked about each repository.
    """

    root: Path
    address: str = ""
    fetched: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)

    def environment(self, cache: Path, address: str | None = None) -> dict[str, str]:
        """What a process needs to know this hub and no other, with caches of its own.

        Args:
            address: another one, such as one where nobody answers.
        """
        return {
            "HF_ENDPOINT": address or self.address,
            "HF_HOME": str(cache / "hub"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_ETAG_TIMEOUT": "2",
            "HF_HUB_DOWNLOAD_TIMEOUT": "2",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "TEXTGEN_CACHE": str(cache / "textgen"),
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    """Repositories called `slow`, `cut`, `broken`, `wrong`, `failing`, `forbidden` or `stuck`
    answer as their names say: `wrong` sends other weights once, `cut` half of them once."""

    def __init__(self, hub: Hub, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlparse(self.path).path.strip("/")
        if path.startswith("api/models/"):
            return self.about("/".join(path.split("/")[2:4]))
        repository, _, rest = path.partition("/resolve/")
        return self.file(repository, rest.partition("/")[2])

    def about(self, repository: str) -> None:
        self.hub.asked[repository] += 1
        name = repository.rpartition("/")[2]
        folder = self.hub.root / repository
        if name == "stuck":
            time.sleep(4)
        if name == "failing":
            return self.answer(500, [b""])
        if not folder.is_dir():
            return self.answer(404, [b"{}"], {"X-Error-Code": "RepoNotFound"})
        files = sorted(path.name for path in folder.iterdir())
        about = {"id": repository, "sha": REVISION, "private": False, "gated": False, "tags": []}
        about["siblings"] = [{"rfilename": file} for file in files]
        return self.answer(200, [json.dumps(about).encode()])

    def file(self, repository: str, file: str) -> None:
        name, path = repository.rpartition("/")[2], self.hub.root / repository / file
        if name == "forbidden":
            return self.answer(403, [b""])
        if not path.is_file():
            return self.answer(404, [b""], {"X-Error-Code": "EntryNotFound"})
        raw = path.read_bytes()
        headers = {"ETag": f'"{_etag(file, raw)}"', "X-Repo-Commit": REVISION}
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(raw) - 1}/{len(raw)}"
        if self.command == "GET":
            self.hub.fetched[f"{repository}/{file}"] += 1
        sent = raw
        if file.endswith(".safetensors"):
            is_first = self.hub.fetched[f"{repository}/{file}"] == 1
            if name == "wrong" and is_first:
                sent = raw[:-8] + bytes(8)
            if name == "cut" and is_first:
                sent = raw[: len(raw) // 2]
            if name == "broken":
                sent = raw[:100]
        body = sent[first:]
        step = len(body) // 4 + 1 if name == "slow" else max(len(body), 1)
        pieces = [body[start : start + step] for start in range(0, len(body), step)]
        return self.answer(206 if first else 200, pieces, headers, len(raw) - first)

    def answer(
        self, code: int, pieces: list[bytes], headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:  # fmt: skip
        length = sum(map(len, pieces)) if length is None else length
        with suppress(ConnectionError):  # who waited for `stuck` is gone
            self.send(code, pieces, {"Content-Length": str(length), **(headers or {})})

    def send(self, code: int, pieces: list[bytes], headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for number, piece in enumerate(pieces):
            time.sleep(_PAUSE_SECONDS * (number > 0))
            self.wfile.write(piece)


def _etag(file: str, raw: bytes) -> str:
    """As the hub's: SHA-256 of a large file, git's name of a small one."""
    if file.endswith(".safetensors"):
        return hashlib.sha256(raw).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()


@contextmanager
def serve_hub(root: Path) -> Iterator[Hub]:
    """Serve the repositories below `root` while the block runs."""
    hub = Hub(root)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
