"""The forms that text comes in, told by content: JSON of three layouts, CSV, compressed files; and
what is not read, which is counted and named."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from hvdcore.errors import UserError
from textgen.data import records
from textgen.data.config import DataConfig
from textgen.data.documents import Skipped
from textgen.data.files import find_files
from textgen.data.prepare import prepare
from textgen.data.staging import StagedUnit, write_unit

TEXTS = ['one, a "quoted" text\nof two lines', "zwei \u00e4 ][}{", "three"]
ROWS = [{"id": number, "text": text, "sub": {"a": [1]}} for number, text in enumerate(TEXTS)]


def read(path: Path, column: str = "text") -> tuple[list[str], dict[str, int]]:
    """The texts as they are staged, and what was left out."""
    source = find_files(path)
    skipped = Skipped()
    skipped.merge(dict(source.passed_over.counts), source.passed_over.examples)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, piece in enumerate(source.units(column)):
            place = Path(folder, f"{number:06}")
            write_unit(source.documents(piece, column, skipped), place, skipped, lambda _: None)
            raw = StagedUnit(place).text_path.read_bytes()
            rows = StagedUnit(place).table()
            found += [raw[row["start"] :][: row["size"]].decode() for row in rows]
    return found, dict(skipped.counts)


def zstd(raw: bytes) -> bytes:
    packed = pa.compress(raw, codec="zstd", asbytes=True)
    assert isinstance(packed, bytes)
    return packed


def as_csv(delimiter: str = ",") -> str:
    made = io.StringIO(newline="")
    writer = csv.DictWriter(made, ["id", "text", "sub"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return made.getvalue()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
FORMS = {
    "lines.json": LINES,
    "array.json": json.dumps(ROWS),
    "array.jsonl": "\ufeff \n" + json.dumps(ROWS, indent=2) + "\n\n",
    "several lines.json": "\n".join(json.dumps(row, indent=1) for row in ROWS),
    "table.csv": as_csv(),
    "table.tsv": as_csv("\t"),
    "semicolons.csv": as_csv(";"),
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".zst": zstd, ".bz2": bz2.compress, ".xz": lzma.compress,
}  # fmt: skip


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_documents(tmp_path: Path, name: str, packing: str) -> None:
    path = tmp_path / (name + packing)
    path.write_bytes(PACKED[packing](FORMS[name].encode()))
    documents, skipped = read(path)
    assert documents == TEXTS
    assert skipped == {}


@pytest.mark.parametrize("packing", PACKED)
def test_damage_to_a_compressed_file_is_named(tmp_path: Path, packing: str) -> None:
    whole = PACKED[packing](LINES.encode() * 50)
    path = tmp_path / f"x.json{packing}"
    path.write_bytes(whole[: len(whole) // 2 + 5])
    with pytest.raises(UserError, match=r"x\.json"):
        read(path)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('[{"text": "a"}\n {"text": "b"}]', "line 2: a comma or the end of the array is missing"),
        ('[{"text": "a"},\n', "line 2: it ends in the middle"),
        ('[{"text": "a"}] [', "line 1: more after the array"),
        ('{\n "text": "a",\n "b": nope}', "line 3: not JSON"),
        ("[" * 200_000, "not JSON"),
        ('["text"]', "record 1: a str, not a JSON object"),
        ('[{"title": "x"}]', "record 1: no column 'text'; it has title"),
    ],
)
def test_what_is_wrong_with_json_is_said(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UserError, match=named):
        read(path)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,text\none,two\n")
    with pytest.raises(UserError, match=r"a\.csv: 2 columns are called 'text'; rename the others"):
        read(path)
    path.write_text("text,other\none,two\n")
    assert read(path)[0] == ["one"], "control"


def test_a_table_without_the_column(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("title,body\na,one\nb,two\n")
    assert read(path, "body")[0] == ["one", "two"]
    with pytest.raises(UserError, match="no column 'text'; it has title, body: name one with"):
        read(path)
    (tmp_path / "book.txt").write_text("a book")
    # Beside books it is a list of them, for example: it is left out, and named.
    assert read(tmp_path) == (["a book"], {".csv without the text column": 1})


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("fine")
    (tmp_path / "page.txt").write_text("<!DOCTYPE html>\n<html><body>no</body></html>")
    for name in ("README.md", "LICENSE.txt", "a.epub", "b.html", "c.html"):
        (tmp_path / name).write_text("text")
    assert read(tmp_path) == (
        ["fine"],
        {
            "README.md (not a form that is read)": 1,
            "LICENSE.txt (not a form that is read)": 1,
            ".epub (not a form that is read)": 1,
            ".html (not a form that is read)": 2,
            "not text (HTML: convert it to text)": 1,
        },
    )
    assert read(tmp_path / "README.md")[0] == ["text"]  # given by name it is data


def test_a_single_page_of_html_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<?xml version='1.0'?>\n<html lang='en'>" + "<p>Some words." * 500)
    config = DataConfig(data=str(page), tokenizer="byte", context_length=2)
    with pytest.raises(UserError, match="HTML: convert it to text"):
        prepare(config, cache_dir=tmp_path / "cache")
    page.write_text("Some words about <html> pages. " * 500)  # control
    assert prepare(config, cache_dir=tmp_path / "cache").num_tokens["train"]


def test_a_file_that_was_raw_text_before_is_another_request(tmp_path: Path) -> None:
    """A corpus that an earlier version made of the same file must not be found in the cache."""
    for name, marked in (("a.json", True), ("a.csv", True), ("a.jsonl", False), ("a.txt", False)):
        path = tmp_path / name
        path.write_text('{"text": "x"}')
        assert ("read as records" in find_files(path).signature()) is marked


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.json", "x.csv"])
def test_a_record_that_does_not_fit_into_memory(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_RECORD", 1 << 12)
    monkeypatch.setattr("textgen.data.rows.MAX_RECORD", 1 << 12)
    body = "a" * (1 << 20)
    content = {"x.csv": f'text\n"{body}"\n', "x.json": '[{\n"text": "' + body + '"}]'}.get(
        name, '{"text": "' + body + '"}\n'
    )
    raw = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    with pytest.raises(UserError, match=r"longer than|larger than field limit"):
        read(tmp_path / name)
