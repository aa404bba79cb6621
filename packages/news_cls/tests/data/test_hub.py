"""Data sets from a small hub of our own on this machine; and a hub that misbehaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hvdcore.testing.hub import NOBODY, Hub, serve_hub
from news_cls.testing import news, write_json_lines

pytest.importorskip("huggingface_hub", reason="pip install './packages/news_cls[hub]'")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with data sets."""
    root = tmp_path_factory.mktemp("hub")
    for name in ("ag", "slow", "cut", "always-cut", "forbidden"):
        write_parquet(root / "datasets" / "me" / name / "data")
    for name in ("de", "en"):
        write_json_lines(root / "datasets" / "me" / "many" / name / "train.jsonl", news(24))
    (root / "datasets" / "me" / "coded").mkdir()
    code = "raise SystemExit('remote code ran')\n"
    (root / "datasets" / "me" / "coded" / "coded.py").write_text(code)
    with serve_hub(root) as running:
        yield running


def write_parquet(folder: Path) -> None:
    folder.mkdir(parents=True)
    for split, rows in (("train", news(24)), ("test", news(8, first=100))):
        table = pa.table(
            {"text": [f"{t} {d}" for _, t, d in rows], "label": [label for label, _, _ in rows]}
        )
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")


SCRIPT = """
import json, sys
from hvdcore.errors import UserError
from news_cls.config import TrainConfig
from news_cls.data.prepare import prepare
for changes in json.loads(sys.argv[1]):
    try:
        data = prepare(TrainConfig(**changes))
        print(json.dumps({"key": data.key, **data.meta}))
    except UserError as error:
        print(json.dumps({"error": error.problems}))
"""


def prepared(
    hub: Hub, folder: Path, *changes: dict[str, str], address: str | None = None
) -> list[dict[str, Any]]:
    """The meta.json, or the error, of each configuration, in a process that knows this hub."""
    environment = {**os.environ, **hub.environment(folder / "home", address)}
    environment["XDG_CACHE_HOME"] = str(folder / "cache")
    line = [sys.executable, "-c", SCRIPT, json.dumps(changes)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    ag, slow, cut, again, de, many, column, nothing, coded = prepared(
        hub, tmp_path,
        {"data": "me/ag"}, {"data": "me/slow"}, {"data": "me/cut"}, {"data": "me/ag"},
        {"data": "me/many:de"}, {"data": "me/many"}, {"data": "me/ag", "text_column": "body"},
        {"data": "me/nothing"}, {"data": "me/coded"},
    )  # fmt: skip
    assert ag["classes"] == ["World", "Sports", "Business", "Sci/Tech"]
    assert (sum(ag["parts"].values()), ag["source"]) == (32, "me/ag")
    assert slow["key"] == cut["key"] == again["key"] == ag["key"]
    assert hub.fetches("datasets/me/ag") == 2  # train and test, once
    assert hub.fetches("datasets/me/cut") == 4  # each in two shards
    assert sum(de["parts"].values()) == 24
    assert "data: me/many: several sets; give one of me/many:de, me/many:en" in many["error"]
    assert "no column 'body'; it has text, label" in column["error"][0]
    assert "no public data set of that name on the hub; give sample" in nothing["error"][0]
    assert "data: me/coded: no .parquet, .jsonl, .json, .csv, .tsv on the hub" in coded["error"][0]

    # With no hub to reach, what was prepared is still found; what was not is a clear line.
    found, unknown = prepared(
        hub, tmp_path, {"data": "me/ag"}, {"data": "me/nothing"}, address=NOBODY
    )
    assert found["key"] == ag["key"]
    assert "the hub cannot be reached" in unknown["error"][0]


def test_a_hub_that_misbehaves(hub: Hub, tmp_path: Path) -> None:
    found = prepared(
        hub, tmp_path,
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
        assert "could not download data/test-00000-of-00001.parquet" in line
        assert "try again, or download it by other means and give its path" in line


def test_without_the_client_the_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from hvdcore.errors import UserError
    from news_cls.config import TrainConfig
    from news_cls.data.prepare import prepare

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        UserError, match=r"needs huggingface_hub; pip install '\./packages/news_cls"
    ):
        prepare(TrainConfig(data="nobody/nothing"))
