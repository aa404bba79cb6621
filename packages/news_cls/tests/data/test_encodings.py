"""Rows in other encodings and layouts: which encoding reads them is said, and it can be given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from hvdcore.errors import UserError
from news_cls.config import DataFields
from news_cls.data.prepare import prepare, summary


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(path: Path, encoding: str, word: str) -> Path:
    rows = [f"{'ham' if n % 3 else 'spam'},{word} number {n}" for n in range(30)]
    rows += [f"{'ham' if n % 3 else 'spam'},plain text {n}" for n in range(60)]
    path.write_bytes(("label,text\n" + "\n".join(rows) + "\n").encode(encoding))
    return path


@pytest.mark.parametrize(
    ("encoding", "word"), [("cp1252", "only £5 \u2013 café"), ("cp1251", "привет мир")]
)
def test_the_encoding_that_reads_them_is_named(tmp_path: Path, encoding: str, word: str) -> None:
    path = write(tmp_path / "t.csv", encoding, word)
    told = summary(prepare(DataFields(data=str(path))))
    assert "30 not UTF-8" in told
    if encoding == "cp1252":  # many encodings would read the other, as other letters
        assert "--encoding cp1252 would read them" in told
    data = prepare(DataFields(data=str(path), encoding=encoding))
    assert sum(data.meta["parts"].values()) == 90
    assert any(word.split()[-1] in text for text in data.splits["train"].texts)


def test_a_class_that_falls_out_by_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{'ab'[n % 2]},text {n}{' £' * (n % 2)}" for n in range(20)]
    path.write_bytes(("label,text\n" + "\n".join(rows) + "\n").encode("cp1252"))
    with pytest.raises(UserError, match=r"label 'b' can be used .*--encoding cp1252 would read"):
        prepare(DataFields(data=str(path)))


def test_an_unknown_encoding() -> None:
    with pytest.raises(ValidationError, match="no encoding 'nope'"):
        DataFields(encoding="nope")


def test_objects_over_several_lines(tmp_path: Path) -> None:
    rows = [{"label": "ab"[n % 2], "text": f"some text {n}"} for n in range(20)]
    path = tmp_path / "t.json"
    path.write_text("\n".join(json.dumps(row, indent=1) for row in rows))
    spread = prepare(DataFields(data=str(path)))
    path.write_text("\n".join(map(json.dumps, rows)))
    assert spread.key == prepare(DataFields(data=str(path))).key


@pytest.mark.parametrize("other", ["cafe\u0301", "ca\u200bf\u00e9", "\uff43af\u00e9"])
def test_classes_that_look_the_same(tmp_path: Path, other: str) -> None:
    path, names = tmp_path / "train.csv", ["caf\u00e9", other, "art"]
    rows = [f"text {number},{names[number % 3]}" for number in range(30)]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    assert "classes that look the same: 'caf" in summary(prepare(DataFields(data=str(path))))


def test_classes_that_differ_in_case(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{['World', 'world', 'Sports'][n % 3]},text {n}" for n in range(30)]
    path.write_text("label,text\n" + "\n".join(rows) + "\n")
    assert "differ in case alone: World, world" in summary(prepare(DataFields(data=str(path))))
