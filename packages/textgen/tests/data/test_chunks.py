"""Chunks and shards: wherever texts, lines and rows are cut, the result is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvdcore.errors import UserError
from textgen.data import chunks, documents, rows
from textgen.data.chunks import cut_at, segments_of
from textgen.data.documents import Document, Skipped
from textgen.data.encode import bpe_texts
from textgen.data.files import find_files
from textgen.data.read import DocumentIndex, StagedText
from textgen.data.splits import SplitIndices
from textgen.data.staging import StagedUnit, write_unit
from textgen.tokenizer.tokenizer import ByteTokenizer, train_bpe

CORPUS = ["the cat sat on the mat, and the dog sat on the cat's mat.\n\n  It rained. " * 30]
BPE = train_bpe(CORPUS, 300)
TEXT = st.text(st.sampled_from(" \n\tab'.,1é\u2003\N{EURO SIGN}日\N{GRINNING FACE}"), max_size=60)


@given(text=TEXT, positions=st.lists(st.integers(0, 200), max_size=3), size=st.integers(1, 9))
def test_tokens_of_chunks_are_those_of_the_text(text: str, positions: list[int], size: int) -> None:
    raw = text.encode()
    for tokenizer in (ByteTokenizer(), BPE):
        cut = partial(cut_at, lambda a, b: raw[a:b], stop=len(raw), find=tokenizer.find_cut)
        borders = sorted({0, len(raw), *(cut(position) for position in positions)})
        found = [
            chunk
            for a, b in pairwise(borders)
            for chunk in chunks.split_text(lambda a, b: raw[a:b], a, b, size, tokenizer.find_cut)
        ]
        assert "".join(found) == text
        ids = [token for chunk in found for token in tokenizer.encode(chunk).tolist()]
        assert ids == tokenizer.encode(text).tolist()


def test_a_text_without_blanks_is_cut_at_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_WINDOWS", (8, 64))
    raw = "日".encode() * 1000

    def read(start: int, stop: int) -> bytes:
        assert stop - start <= 100 + 64  # what is in memory at once
        return raw[start:stop]

    found = list(chunks.split_text(read, 0, len(raw), 100, BPE.find_cut))
    assert "".join(found) == "日" * 1000
    assert {len(chunk) for chunk in found[:-2]} == {34}  # the first character from byte 100 on


@pytest.mark.parametrize("unit_bytes", [1, 9, 40, 10_000])
@pytest.mark.parametrize("scan_bytes", [7, 64])
@pytest.mark.parametrize("ending", ["", "\n"])
def test_lines_of_shards_have_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit_bytes: int, scan_bytes: int, ending: str
) -> None:
    monkeypatch.setattr(documents, "UNIT_BYTES", unit_bytes)
    monkeypatch.setattr(rows, "_SCAN_BYTES", scan_bytes)
    lines = ["x" * (number % 13) for number in range(30)]
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(lines) + ending)
    found = list(rows.line_shards(path))
    read = [line for shard in found for line in rows.lines(shard)]
    expected = list(enumerate((text + "\n" for text in lines), start=1))
    if not ending:
        expected[-1] = (30, lines[-1])
    assert read == [(number, text.encode()) for number, text in expected]
    assert all(shard.size >= unit_bytes for shard in found[:-1])
    assert len(found) == 1 or unit_bytes < 10_000


def test_a_broken_line_of_a_later_shard_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "UNIT_BYTES", 100)
    path = tmp_path / "books.jsonl"
    path.write_text('{"text": "a good line"}\n' * 40 + "{broken\n" + '{"text": "b"}\n')
    with pytest.raises(UserError, match="line 41: not JSON"):
        list(texts(path))


def texts(path: Path) -> Iterator[tuple[str, str]]:
    source = find_files(path)
    for unit in source.units("text"):
        for document in source.documents(unit, "text", Skipped()):
            yield document.origin.removeprefix(f"{path} "), b"".join(document.raw).decode()


@pytest.mark.parametrize(("limit", "expected"), [(100, 1), (1200, 2), (10**6, 4)])
def test_bpe_is_learned_from_the_first_documents_by_hash(
    tmp_path: Path, limit: int, expected: int
) -> None:
    """Four documents of 1,000 bytes; a document begun below the limit is read to its end."""
    books = [f"{letter} " * 500 for letter in "abcd"]
    documents = [Document((book.encode(),), "book") for book in books]
    write_unit(documents, tmp_path / "unit", Skipped(), lambda _: None)
    index = DocumentIndex([StagedUnit(tmp_path / "unit")])
    texts = StagedText([StagedUnit(tmp_path / "unit")], index.table)
    everything = np.arange(4)
    split = SplitIndices("hash", everything, everything[:0], everything[:0])
    train = segments_of("train", split, texts, index.table["size"], (0.0, 0.0))
    by_hash = sorted(books, key=lambda book: hashlib.sha256(book.encode()).digest())
    assert list(bpe_texts(train, texts, limit)) == by_hash[:expected]


ROWS = [f"book {number}" for number in range(23)]


def test_each_row_group_is_a_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "UNIT_BYTES", 1)
    path = tmp_path / "books.parquet"
    pq.write_table(pa.table({"text": ROWS}), path, row_group_size=5)
    assert len(find_files(path).units("text")) == 5
    assert list(texts(path)) == [(f"row {number}", f"book {number - 1}") for number in range(1, 24)]


@pytest.mark.parametrize("form", ["stream", "file"])
def test_arrow_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(documents, "UNIT_BYTES", 1)
    path = tmp_path / "books.arrow"
    table = pa.table({"id": list(range(23)), "text": ROWS})
    new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with new(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    assert len(find_files(path).units("text")) == 3
    assert list(texts(path)) == [(f"row {number}", f"book {number - 1}") for number in range(1, 24)]
    with pytest.raises(UserError, match=r"no column 'body'; it has id, text"):
        find_files(path).units("body")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"books\.arrow: not a readable Arrow file"):
        list(texts(path))


def test_what_datasets_saves_on_disk_is_read(tmp_path: Path) -> None:
    import datasets

    saved = datasets.Dataset.from_dict({"title": ROWS, "text": ROWS})
    datasets.DatasetDict({"train": saved}).save_to_disk(tmp_path / "books")
    assert [text for _, text in texts(tmp_path / "books")] == ROWS


def test_a_damaged_page_of_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "books.parquet"
    pq.write_table(pa.table({"text": [f"{text} " * 500 for text in ROWS]}), path)
    raw = bytearray(path.read_bytes())
    raw[40:400] = bytes(360)
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"books\.parquet: not a readable Parquet file"):
        list(texts(path))


@pytest.mark.parametrize("suffix", [".txt.gz", ".jsonl.gz"])
def test_damage_in_the_middle_of_a_gzip_file_is_named(tmp_path: Path, suffix: str) -> None:
    import gzip
    import random

    path = tmp_path / f"books{suffix}"
    text = json.dumps({"text": random.Random(1).randbytes(20_000).hex()}) + "\n"
    raw = bytearray(gzip.compress(text.encode()))
    raw[5000:5100] = bytes(100)
    path.write_bytes(raw)
    with pytest.raises(UserError, match=rf"books{suffix}: .*(truncated or damaged|not a gzip)"):
        list(texts(path))
