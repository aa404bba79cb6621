"""A small hub of models and data sets on this machine, for tests: repositories are folders, and the
name of one may say how the hub answers."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

__all__ = ["NOBODY", "REVISION", "Hub", "serve_hub"]

REVISION = "a" * 40
"""The commit of every repository."""
NOBODY = "http://127.0.0.1:9"
"""An address where no hub answers."""
LARGE = (".safetensors", ".parquet", ".jsonl")
"""Files that troubles are about, and that the real hub names by their SHA-256."""
_PAUSE_SECONDS, _STUCK_SECONDS = 0.3, 4.0
_NO_REPOSITORY, _NO_FILE = {"X-Error-Code": "RepoNotFound"}, {"X-Error-Code": "EntryNotFound"}


@dataclass
class Hub:
    """A running hub.

    Attributes:
        root: folder of the repositories: `owner/name` of models, `datasets/owner/name`.
        address: what `HF_ENDPOINT` is set to.
        trouble: how the hub answers, by the name of a repository without its owner, or of a file:
            `stuck` and `failing` when asked about it, `forbidden`, `slow`, `cut` (half of a large
            file, once), `always-cut`, `broken` (never more than a bit of a large file), `wrong`
            (other bytes, once), `moved` (they are on `elsewhere`) for its files. A repository by
            default does as its name says.
        fetched: how often each file was sent, by repository and path.
        asked: how often the hub was asked about each repository.
        elsewhere: address of another hub.
        tokens: the tokens that were sent to it.
    """

    root: Path
    address: str = ""
    trouble: dict[str, str] = field(default_factory=dict)
    fetched: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    elsewhere: str = ""
    tokens: set[str] = field(default_factory=set)

    def fetches(self, repository: str) -> int:
        """How many files of a repository were sent, each as often as it was."""
        return sum(n for file, n in self.fetched.items() if file.startswith(f"{repository}/"))

    def environment(self, cache: Path, address: str | None = None) -> dict[str, str]:
        """What a process needs to know this hub and no other, with a cache of its own.

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
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, hub: Hub, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.answer(404, [b"{}"])

    def do_GET(self) -> None:
        self.hub.tokens.update(filter(None, [self.headers.get("Authorization")]))
        path = unquote(urlparse(self.path).path).strip("/")
        for kind, prefix in (("models", ""), ("datasets", "datasets/")):
            if path.startswith(f"api/{kind}/"):
                owner, name, *rest = path.split("/")[2:]
                return self.about(f"{prefix}{owner}/{name}", rest)
        repository, _, where = path.partition("/resolve/")
        return self.file(repository, where.partition("/")[2])

    def trouble(self, repository: str, file: str = "") -> str:
        name = repository.rpartition("/")[2]
        return self.hub.trouble.get(file) or self.hub.trouble.get(name, name)

    def about(self, repository: str, rest: Sequence[str]) -> None:
        """What the hub knows of a repository, or of the files in it: `tree/REVISION[/FOLDER]`."""
        self.hub.asked[repository] += 1
        folder, trouble = self.hub.root / repository, self.trouble(repository)
        if trouble == "stuck":
            time.sleep(_STUCK_SECONDS)
        if trouble == "failing":
            return self.answer(500, [b""])
        if not folder.is_dir():
            return self.answer(404, [b"{}"], _NO_REPOSITORY)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        names = [str(path.relative_to(folder)) for path in files]
        if "tree" in rest:
            if len(rest) > 2 and not folder.joinpath(*rest[2:]).is_dir():
                return self.answer(404, [b"{}"], _NO_FILE)
            tree = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": "b"}
                for name, path in zip(names, files, strict=True)
            ]
            return self.answer(200, [json.dumps(tree).encode()])
        told: dict[str, Any] = {
            "id": repository.removeprefix("datasets/"),
            "sha": REVISION,
            "tags": [],
        }
        told |= {"private": False, "gated": False, "siblings": [{"rfilename": n} for n in names]}
        return self.answer(200, [json.dumps(told).encode()])

    def file(self, repository: str, file: str) -> None:
        trouble, path = self.trouble(repository, file), self.hub.root / repository / file
        if trouble == "forbidden":
            return self.answer(403, [b""])
        if trouble == "moved" and path.is_file() and self.hub.elsewhere:
            raw, where = path.read_bytes(), f"{self.hub.elsewhere}{self.path}"
            linked = {"X-Linked-ETag": f'"{_etag(file, raw)}"', "X-Linked-Size": str(len(raw))}
            return self.answer(302, [b""], {"Location": where, "X-Repo-Commit": REVISION, **linked})
        if not path.is_file():
            code = _NO_FILE if (self.hub.root / repository).is_dir() else _NO_REPOSITORY
            return self.answer(404, [b""], {**code, "X-Repo-Commit": REVISION})
        raw = path.read_bytes()
        headers = {"ETag": f'"{_etag(file, raw)}"', "X-Repo-Commit": REVISION}
        first, last = self.wanted(len(raw))
        is_part = "Range" in self.headers
        if is_part:
            headers["Content-Range"] = f"bytes {first}-{last - 1}/{len(raw)}"
        key = f"{repository}/{file}"
        self.hub.fetched[key] += self.command == "GET"
        sent = _troubled(raw, trouble, self.hub.fetched[key] == 1) if file.endswith(LARGE) else raw
        body = sent[first:last]
        step = len(body) // 4 + 1 if trouble == "slow" else max(len(body), 1)
        pieces = [body[start : start + step] for start in range(0, len(body), step)]
        return self.answer(206 if is_part else 200, pieces, headers, last - first)

    def wanted(self, size: int) -> tuple[int, int]:
        """The bytes that the client asks for, from the first to before the last."""
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        return int(first), min(int(last or size), size - 1) + 1

    def answer(
        self, code: int, pieces: Sequence[bytes], headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:  # fmt: skip
        length = sum(map(len, pieces)) if length is None else length
        with suppress(ConnectionError):  # who waited for `stuck` is gone
            self.send(code, pieces, {"Content-Length": str(length), **(headers or {})})

    def send(self, code: int, pieces: Sequence[bytes], headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for number, piece in enumerate(pieces):
            time.sleep(_PAUSE_SECONDS * (number > 0))
            self.wfile.write(piece)


def _troubled(raw: bytes, trouble: str, is_first: bool) -> bytes:
    """What is sent of a large file."""
    if trouble == "wrong" and is_first:
        return raw[:-8] + bytes(8)
    if trouble == "cut" and is_first:
        return raw[: len(raw) // 2]
    return {"broken": raw[:100], "always-cut": b""}.get(trouble, raw)


def _etag(file: str, raw: bytes) -> str:
    """As the hub's: SHA-256 of a large file, git's name of a small one."""
    if file.endswith(LARGE):
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
