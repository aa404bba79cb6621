"""Data sets on a hub of our own, through the real client: what is asked, remembered and fetched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.files.hub import find_hub_set
from hvdcore.testing.hub import NOBODY, REVISION, Hub, serve_hub

CHILD = """
import json, sys
from pathlib import Path
from hvdcore.errors import UserError
from hvdcore.files.hub import fetch_files, find_hub_set
hub_id, cache, *names = sys.argv[1:]
try:
    found = find_hub_set(hub_id, Path(cache), "it")
    root = fetch_files(found, names) if names else Path()
    said = [found.hub_id, found.revision, *found.files], [(root / n).read_text() for n in names]
except UserError as error:
    said = str(error)
print(json.dumps(said))
"""
FILES = {"b.csv": "bee", "a/train.csv": "train", "a/[1].csv": "bracket"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub", reason="needs huggingface_hub")
    root = tmp_path_factory.mktemp("repositories")
    for name in ("set", "forbidden"):
        for file, text in FILES.items():
            path = root / "datasets" / "me" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    with serve_hub(root) as served:
        yield served


def ask(hub: Hub, cache: Path, hub_id: str, *names: str, address: str | None = None) -> object:
    """What a process of its own finds: the client reads its settings when it is imported."""
    env = {**os.environ, **hub.environment(cache, address)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, hub_id, str(cache), *names],
        env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


EXPECTED = ["me/set", REVISION, "a/[1].csv", "a/train.csv", "b.csv"]


def test_the_answer_is_remembered_for_the_time_without_a_network(hub: Hub, tmp_path: Path) -> None:
    assert ask(hub, tmp_path, "me/set") == [EXPECTED, []]
    assert ask(hub, tmp_path, "me/set", address=NOBODY) == [EXPECTED, []]
    unknown = str(ask(hub, tmp_path, "me/forbidden", address=NOBODY))
    assert unknown.startswith("data: no file or folder 'me/forbidden', and the hub cannot be")


def test_a_damaged_memory_is_none(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "me--set.json").write_text('{"revision": "c0"')
    assert "the hub cannot be reached" in str(ask(hub, tmp_path, "me/set", address=NOBODY))


def test_a_name_that_nobody_has(hub: Hub, tmp_path: Path) -> None:
    assert "no public data set of that name on the hub" in str(ask(hub, tmp_path, "me/nothing"))


def test_without_the_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"needs huggingface_hub; pip install '\./x\[hub\]'"):
        find_hub_set("me/set", tmp_path, "'./x[hub]'")


def test_the_files_that_are_wanted_are_fetched_once(hub: Hub, tmp_path: Path) -> None:
    wanted = ["a/[1].csv", "b.csv"]
    before = hub.fetches("datasets/me/set")
    assert ask(hub, tmp_path, "me/set", *wanted) == [EXPECTED, ["bracket", "bee"]]
    assert hub.fetches("datasets/me/set") == before + 2
    assert ask(hub, tmp_path, "me/set", *wanted) == [EXPECTED, ["bracket", "bee"]]
    assert ask(hub, tmp_path, "me/set", *wanted, address=NOBODY) == [EXPECTED, ["bracket", "bee"]]
    assert hub.fetches("datasets/me/set") == before + 2


def test_without_a_network_a_file_that_was_not_fetched_is_named(hub: Hub, tmp_path: Path) -> None:
    ask(hub, tmp_path, "me/set", "b.csv")
    said = ask(hub, tmp_path, "me/set", "b.csv", "a/train.csv", address=NOBODY)
    assert str(said).startswith("data: me/set: could not download a/train.csv from the hub")


def test_what_the_hub_refuses(hub: Hub, tmp_path: Path) -> None:
    said = str(ask(hub, tmp_path, "me/forbidden", "b.csv", "a/train.csv"))
    assert said.startswith("data: me/forbidden: could not download b.csv and 1 more from the hub (")
    assert said.endswith("; try again, or download it by other means and give its path")


def test_the_token_does_not_follow_to_another_host(hub: Hub, tmp_path: Path) -> None:
    root = tmp_path / "repositories"
    (root / "datasets/me/moved").mkdir(parents=True)
    (root / "datasets/me/moved/rows.jsonl").write_text("rows")
    with serve_hub(root) as first, serve_hub(root) as other:
        first.elsewhere, first.trouble["moved"] = other.address, "moved"
        env = {**os.environ, **first.environment(tmp_path), "HF_TOKEN": "hf_secret"}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, "me/moved", str(tmp_path), "rows.jsonl"],
            env=env, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert json.loads(done.stdout)[1] == ["rows"], done.stderr
    assert other.fetched["datasets/me/moved/rows.jsonl"] == 1
    assert first.tokens == {"Bearer hf_secret"}, "control"
    assert other.tokens == set()
    assert "hf_secret" not in done.stdout + done.stderr
