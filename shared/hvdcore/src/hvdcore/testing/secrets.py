"""Where values of the environment may stand that are nobody else's business: for tests."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

__all__ = ["SECRETS", "CommandLines", "files_holding"]

SECRETS = {
    "HF_TOKEN": "hf_7Qd-not-for-others",
    "AWS_SECRET_ACCESS_KEY": "wJalr/K7MDENG+x y'z\"$HOME-7Qd",
    "https_proxy": "http://user:pass-7Qd@127.0.0.1:9",
    "MULTI_LINE": "first-line-7Qd\nsecond-line-7Qd",
    # Names by which launchers choose what they pass on.
    "HOROVOD_MINE": "horovod-7Qd",
    "HVD_MINE": "hvd-7Qd",
    "SLURM_MINE": "slurm-7Qd",
    "RAY_MINE": "ray-7Qd",
}
"""Variables as users have them."""
MARK = "7Qd"
"""Stands in each line of their values, and nowhere else."""


class CommandLines:
    """All command lines of this machine while the context is open, whoever's they are."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    self._seen.add(path.read_bytes())

    def holding(self, text: str) -> list[str]:
        """The command lines in which a text stands."""
        found = [line for line in self._seen if text.encode() in line]
        return [line.replace(b"\0", b" ").decode("utf-8", "replace") for line in found]


def files_holding(text: str, *folders: Path) -> list[str]:
    """The files of folders in which a text stands."""
    files = (path for folder in folders for path in folder.rglob("*"))
    return [str(path) for path in files if path.is_file() and text.encode() in path.read_bytes()]
