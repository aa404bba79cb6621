"""Files of text in any form and of any bytes: documents, or a UserError, nothing else."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvdcore.errors import UserError
from textgen.data.documents import Skipped
from textgen.data.files import find_files
from textgen.data.staging import StagedUnit, write_unit

SHORT = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(SHORT, max_examples=20_000)

TEXT = st.text(st.characters(exclude_categories=[]), max_size=30)
VALUE = st.recursive(
    st.none() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("text"), inner),
    max_leaves=6,
)
ROW = st.fixed_dictionaries({"text": TEXT}, optional={"other": VALUE})
CONTENT = st.one_of(
    st.binary(max_size=300),
    TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(ROW | VALUE, max_size=4).map(lambda rows: json.dumps(rows).encode()),
    st.lists(ROW | VALUE, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    st.lists(ROW, max_size=3).map(
        lambda rows: "\n".join(json.dumps(row, indent=2) for row in rows).encode()
    ),
    st.binary(max_size=60).map(lambda raw: b"text,b\n" + raw),
)
NAMES = st.sampled_from(
    [
        "a.txt", "a.json", "a.jsonl", "a.csv", "a.tsv", "a", "a.parquet", "a.arrow", "README.md",
        "a.html",
    ]
)  # fmt: skip
PACKING: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": bytes,
}  # fmt: skip


def read(files: dict[str, bytes]) -> list[str]:
    """The texts, as they are staged."""
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        root.mkdir()
        for name, raw in files.items():
            (root / name).write_bytes(raw)
        source = find_files(root)
        for number, unit in enumerate(source.units("text")):
            place = Path(folder, f"{number:06}")
            skipped = Skipped()
            write_unit(source.documents(unit, "text", skipped), place, skipped, lambda _: None)
            staged = StagedUnit(place)
            raw = staged.text_path.read_bytes()
            found += [raw[row["start"] :][: row["size"]].decode() for row in staged.table()]
    return found


def check(name: str, packing: str, raw: bytes, cut: int) -> None:
    packed = PACKING[packing](raw)
    files = {name + packing: packed[:cut] if cut else packed, "book.txt": b"a book"}
    try:
        texts = read(files)
    except UserError as error:
        texts, problems = ["a book"], error.problems
    else:
        problems = ()
    assert "a book" in texts
    assert all("\n" not in problem for problem in problems)


@SHORT
@given(NAMES, st.sampled_from(sorted(PACKING)), CONTENT, st.integers(0, 40))
def test_any_file_beside_a_book(name: str, packing: str, raw: bytes, cut: int) -> None:
    check(name, packing, raw, cut)


@pytest.mark.proof
@LONG
@given(NAMES, st.sampled_from(sorted(PACKING)), CONTENT, st.integers(0, 40))
def test_any_file_for_minutes(name: str, packing: str, raw: bytes, cut: int) -> None:
    check(name, packing, raw, cut)


@SHORT
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1))
def test_arrays_and_lines_give_what_was_written(texts: list[str]) -> None:
    """The answer is known: every layout of the same rows gives the same documents."""
    rows = [{"text": text} for text in texts]
    wanted = sorted(text for text in texts if text.strip(" "))
    for name, content in {
        "a.jsonl": "\n".join(map(json.dumps, rows)),
        "a.json": json.dumps(rows, ensure_ascii=False),
        "b.json": "\n".join(json.dumps(row, indent=1) for row in rows),
    }.items():
        try:
            found = read({name: content.encode()})
        except UserError:
            assert not wanted
            continue
        assert {text for text in found if text.strip()} == {t for t in wanted if t.strip()}
