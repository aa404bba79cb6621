"""Every code block of the site is run, all blocks of a page in order, or says why it is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "infra" / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.name != "README.md")
BLOCK = re.compile(
    r"(?:^% not run: *(?P<reason>[^\n]*)\n)?^```(?P<kind>[a-z]+)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
RUN = ("sh", "python")
SHOWN = ("toml", "yaml", "text", "json")
"""Languages of files that a block shows."""


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    reason: str | None


def blocks(text: str) -> list[Block]:
    """The code blocks of a page; directives in braces are none."""
    return [Block(m["kind"], m["text"], m["reason"]) for m in BLOCK.finditer(text)]


def script(found: list[Block]) -> str:
    """The blocks that are run, as one shell script."""
    parts = ["set -eu"]
    for block in found:
        if block.reason is None and block.kind == "sh":
            parts.append(block.text)
        elif block.reason is None and block.kind == "python":
            parts.append(f"python - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK")
    return "\n".join(parts) + "\n"


def has_work(path: Path) -> bool:
    return len(script(blocks(path.read_text(encoding="utf-8"))).splitlines()) > 1


RUNNABLE = [path for path in PAGES if has_work(path)]


def execute(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    own["XDG_CACHE_HOME"] = str(folder.parent / "cache")
    return subprocess.run(
        ["bash", "-c", text], cwd=folder, env={**os.environ, **own}, text=True,
        capture_output=True, timeout=900,
    )  # fmt: skip


def page_name(path: Path) -> str:
    return str(path.relative_to(DOCS))


@pytest.mark.proof
@pytest.mark.ranks
@pytest.mark.parametrize("path", RUNNABLE, ids=page_name)
def test_a_page_runs_as_it_stands(path: Path, tmp_path: Path) -> None:
    done = execute(script(blocks(path.read_text(encoding="utf-8"))), tmp_path / "page")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_a_block_is_run_or_says_why_not(path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8")):
        assert block.kind in (*RUN, *SHOWN), f"a block in {block.kind}"
        if block.reason is not None:
            assert len(block.reason) > 10, f"no reason: {block.text}"


@pytest.mark.proof
@pytest.mark.ranks
def test_the_first_run_ends_with_equal_weights(tmp_path: Path) -> None:
    """The page's claim, beyond its commands' exit codes; the run was really stopped."""
    text = (DOCS / "start" / "first_run.md").read_text(encoding="utf-8")
    done = execute(script(blocks(text)), tmp_path / "page")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "exit code 143" in done.stdout
    digests = re.findall(r'"weights_sha256": "(\w{64})"', done.stdout)
    assert len(digests) == 2
    assert len(set(digests)) == 1


def test_control_of_the_blocks(tmp_path: Path) -> None:
    text = "a\n```sh\nfalse\n```\n% not run: needs a cluster\n```sh\nexit 3\n```\n"
    text += "```{toctree}\nx\n```\n"
    found = blocks(text)
    assert [(b.kind, b.reason) for b in found] == [("sh", None), ("sh", "needs a cluster")]
    assert execute(script(found), tmp_path / "page").returncode == 1
    assert execute(script(found[1:]), tmp_path / "page").returncode == 0
