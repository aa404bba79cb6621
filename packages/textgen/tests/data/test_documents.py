"""Documents: every form on disk is read, what is no text is named, nothing else changes."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hvdcore.errors import UserError
from textgen.data.documents import Skipped
from textgen.data.files import find_files
from textgen.data.sources import find_source
from textgen.data.staging import StagedUnit, write_unit


def read(path: Path, column: str = "text") -> tuple[list[str], dict[str, int]]:
    """The texts as they are staged, and what was left out."""
    source = find_files(path)
    skipped = Skipped()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, unit in enumerate(source.units(column)):
            prefix = Path(folder, f"{number:06}")
            write_unit(source.documents(unit, column, skipped), prefix, skipped, lambda _: None)
            raw = StagedUnit(prefix).text_path.read_bytes()
            rows = StagedUnit(prefix).table()
            found += [raw[row["start"] :][: row["size"]].decode() for row in rows]
    return found, dict(skipped.counts)


def texts(path: Path, column: str = "text") -> list[str]:
    return read(path, column)[0]


def test_byte_order_mark_and_crlf_are_made_uniform_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes("\ufeffOne\r\ntwo\rthree\n\n \ufeff tail  ".encode())
    assert texts(path) == ["One\ntwo\rthree\n\n \ufeff tail  "]


def test_a_folder_is_read_with_its_folders_in_order(tmp_path: Path) -> None:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "b" / "deep" / "two.TXT").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"three"))
    (tmp_path / ".hidden" / "no.txt").write_text("no")
    (tmp_path / ".no.txt").write_text("no")
    (tmp_path / "cover.jpg").write_bytes(b"\xff\xd8")
    assert texts(tmp_path) == ["one", "two", "three"]


def test_what_is_no_text_is_counted_by_reason(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("fine")
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "blank.txt").write_bytes(b"\xef\xbb\xbf \r\n")
    (tmp_path / "binary.txt").write_bytes(b"abc\0def")
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    documents, skipped = read(tmp_path)
    assert documents == ["fine"]
    assert skipped == {
        "empty": 2,
        "not text (holds NUL bytes)": 1,
        "not text (not valid UTF-8)": 1,
    }


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_json_lines(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"books{suffix}"
    rows = [{"text": "one\r\nline", "id": 1}, {"text": None}, {"text": "zwei \u00e4"}]
    raw = ("\n".join(map(json.dumps, rows)) + "\n\n").encode()
    path.write_bytes(gzip.compress(raw) if suffix.endswith("gz") else raw)
    documents, skipped = read(path)
    assert documents == ["one\nline", "zwei \u00e4"]
    assert skipped == {"empty": 1}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"text": "cut', "line 2: not JSON"),
        ('["text"]', "line 2: a list, not a JSON object"),
        ('{"title": "x", "body": "y"}', "line 2: no column 'text'; it has body, title"),
        ('{"text": 7}', "line 2: column 'text' holds int, not text"),
    ],
)
def test_a_broken_line_is_named_by_its_number(tmp_path: Path, line: str, named: str) -> None:
    path = tmp_path / "books.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(UserError, match=named):
        read(path)


def test_a_lone_surrogate_in_json_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl"
    path.write_text('{"text": "\\ud800 x"}\n{"text": "y"}\n')
    documents, skipped = read(path)
    assert len(documents) == 1
    assert skipped == {"not text (not valid UTF-8)": 1}


def test_parquet_and_its_missing_column(tmp_path: Path) -> None:
    path = tmp_path / "books.parquet"
    pq.write_table(pa.table({"title": ["a", "b"], "body": ["one", "two\r\n"]}), path)
    assert texts(path, "body") == ["one", "two\n"]
    with pytest.raises(UserError, match="no column 'text'; it has title, body: name one with"):
        read(path)


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "books.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"books\.parquet: not a readable Parquet file"):
        read(path)


def test_a_gzip_file_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "book.txt.gz"
    path.write_bytes(gzip.compress(b"text" * 1000)[:-20])
    with pytest.raises(UserError, match="truncated or damaged"):
        read(path)
    path.write_bytes(b"plain")
    with pytest.raises(UserError, match="not a gzip file"):
        read(path)


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \.txt.*\.parquet.*it is empty"):
        find_files(tmp_path)
    (tmp_path / "a.pdf").write_bytes(b"")
    with pytest.raises(UserError, match=r"it holds 1 \.pdf"):
        find_files(tmp_path)


def test_a_wrong_path_gets_a_hint(tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    with pytest.raises(UserError, match=r"no such path .*bokos.*did you mean .*books"):
        find_source(str(tmp_path / "bokos"), tmp_path)
    with pytest.raises(UserError, match="did you mean sample"):
        find_source("smaple", tmp_path)
    with pytest.raises(UserError, match=r"no such path .*give sample, a file"):
        find_source(str(tmp_path / "x" / "y" / "z"), tmp_path)


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """A folder that an ordinary user may enter; root becomes one meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        if os.getuid() == 0:
            os.seteuid(0)


def test_a_folder_without_permission(ordinary_user: Path) -> None:
    secret = ordinary_user / "secret"
    secret.mkdir()
    (secret / "book.txt").write_text("x")
    secret.chmod(0)
    if os.getuid() == 0:
        os.seteuid(65534)
    with pytest.raises(UserError, match="secret: no permission to read this folder"):
        find_files(secret)


def test_a_file_without_permission(ordinary_user: Path) -> None:
    (ordinary_user / "book.txt").write_text("x")
    (ordinary_user / "book.txt").chmod(0)
    if os.getuid() == 0:
        os.seteuid(65534)
    with pytest.raises(UserError, match=r"book\.txt: no permission to read it"):
        read(ordinary_user)
