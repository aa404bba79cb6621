"""Asking the hub and remembering its answer, against a client of our own: no network in tests."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hvdcore.errors import UserError
from hvdcore.files.hub import HubSet, fetch_files, find_hub_set


class NotFoundError(Exception):
    pass


class Hub:
    """The client: what it answers, and what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: Any = None
        self.asked: list[Any] = []
        hub, errors, utils = (ModuleType(n) for n in ("huggingface_hub", "errors", "utils"))
        hub.HfApi = lambda: SimpleNamespace(dataset_info=self.info)  # type: ignore[attr-defined]
        hub.constants = SimpleNamespace(HF_HUB_ETAG_TIMEOUT=7)  # type: ignore[attr-defined]
        hub.hf_hub_download = self.download  # type: ignore[attr-defined]
        errors.RepositoryNotFoundError = NotFoundError  # type: ignore[attr-defined]
        utils.disable_progress_bars = lambda: None  # type: ignore[attr-defined]
        utils.logging = SimpleNamespace(set_verbosity_error=lambda: None)  # type: ignore[attr-defined]
        for name, module in (("", hub), (".errors", errors), (".utils", utils)):
            monkeypatch.setitem(sys.modules, f"huggingface_hub{name}", module)

    def info(self, hub_id: str, timeout: float) -> Any:
        self.asked.append((hub_id, timeout))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def download(self, hub_id: str, name: str, *, repo_type: str, revision: str) -> str:
        self.asked.append((hub_id, name, repo_type, revision))
        if isinstance(self.answer, Exception):
            raise self.answer
        return f"/snapshots/{revision}/{name}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(monkeypatch)


def files(*names: str) -> Any:
    return SimpleNamespace(sha="c0", siblings=[SimpleNamespace(rfilename=name) for name in names])


def test_the_answer_is_remembered_for_the_time_without_a_network(hub: Hub, tmp_path: Path) -> None:
    hub.answer = files("b.csv", "a/train.csv")
    found = find_hub_set("me/set", tmp_path, "it")
    assert found == HubSet("me/set", "c0", ("a/train.csv", "b.csv"))
    assert hub.asked == [("me/set", 7)]
    hub.answer = ConnectionError("no network\nmore")
    assert find_hub_set("me/set", tmp_path, "it") == found
    with pytest.raises(UserError, match=r"the hub cannot be reached \(no network\)"):
        find_hub_set("me/other", tmp_path, "it")


def test_a_damaged_memory_is_none(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "me--set.json").write_text('{"revision": "c0"')
    hub.answer = ConnectionError()
    with pytest.raises(UserError, match=r"cannot be reached \(ConnectionError\)"):
        find_hub_set("me/set", tmp_path, "it")


def test_a_name_that_nobody_has(hub: Hub, tmp_path: Path) -> None:
    hub.answer = NotFoundError("404")
    with pytest.raises(UserError, match="no public data set of that name on the hub"):
        find_hub_set("me/set", tmp_path, "it")


def test_without_the_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"needs huggingface_hub; pip install '\./x\[hub\]'"):
        find_hub_set("me/set", tmp_path, "'./x[hub]'")


def test_files_are_fetched_by_revision(hub: Hub) -> None:
    root = fetch_files(HubSet("me/set", "c0", ()), ["data/train.csv", "data/test.csv"])
    assert root == Path("/snapshots/c0")
    assert hub.asked == [
        ("me/set", "data/train.csv", "dataset", "c0"),
        ("me/set", "data/test.csv", "dataset", "c0"),
    ]
    hub.answer = TimeoutError("timed out.")
    with pytest.raises(UserError, match=r"the hub did not give a.csv \(timed out\); try again"):
        fetch_files(HubSet("me/set", "c0", ()), ["a.csv"])
