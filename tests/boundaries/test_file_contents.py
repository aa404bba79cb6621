"""No file of the repository names a package registry's host or a path of somebody's machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# In pieces, so that this file does not name them either.
HOSTS = ("py" + "pi.org", "python" + "hosted.org", "ana" + "conda.org", "download.py" + "torch.org")
PLACES = ("ro" + "ot", "ho" + "me", "Us" + "ers", "wo" + "rk", "m" + "nt")
# A path that starts at the root: not part of a URL, of a longer path or of a word.
FORBIDDEN = re.compile(
    "|".join(re.escape(host) for host in HOSTS)
    + rf"|(?<![\w.\-/:\])}}~*])/(?:{'|'.join(PLACES)})/[\w.]"
)


def tracked_files() -> list[Path]:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def findings(text: str) -> list[str]:
    return [match.group() for match in FORBIDDEN.finditer(text)]


def test_no_file_names_a_registry_or_a_machine() -> None:
    found = {}
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data:
            hits = findings(data.decode("utf-8", errors="replace"))
            if hits:
                found[str(path.relative_to(ROOT))] = hits
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        f"pip install --index-url https://{HOSTS[0]}/simple x",
        f"https://files.{HOSTS[1]}/packages/x.tar.gz",
        f'cache = "/{PLACES[0]}/.cache"',
        f"see /{PLACES[3]}/main/README.md",
        f"cd /{PLACES[1]}/ann",
    ],
)
def test_control_is_caught(text: str) -> None:
    assert findings(text)


@pytest.mark.parametrize(
    "text",
    [
        f"the ratio of home/{PLACES[3]}/life",
        f"https://example.org/{PLACES[1]}/page",
        f"~/{PLACES[3]}/x and $TMP/{PLACES[0]}/y and ../{PLACES[3]}/z",
        "/usr/lib/x and /proc/self/stat and /tmp/x",
    ],
)
def test_control_is_let_through(text: str) -> None:
    assert findings(text) == []
