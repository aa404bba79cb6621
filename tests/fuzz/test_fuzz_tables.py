"""Tables of any bytes: rows, or a UserError, never another exception and never a hang."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvdcore.errors import UserError
from news_cls.data.clean import clean
from news_cls.data.layouts import Columns
from news_cls.data.row_report import RowReport
from news_cls.data.tables import read_table
from news_cls.data.tokens import tokenize

SHORT = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(SHORT, max_examples=20_000)

CELL = st.text(st.sampled_from('ab1,;\t"\n\r\0\ufffe\ufeff\u2028 =é{}[]:'), max_size=12)
ROWS = st.lists(st.lists(CELL, min_size=1, max_size=4), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELL,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELL, inner, max_size=3),
    max_leaves=8,
)
HEADS = st.sampled_from(
    [
        b"", b"label,text\n", b"\xef\xbb\xbflabel,text\n", b"\xff\xfe", b"PAR1", b"[{", b"{",
        b"\x1f\x8b", b'"', b"1,", b"[", b"\0\0\0",
    ]
)  # fmt: skip
TABLES = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda rows: "\n".join(",".join(row) for row in rows).encode("utf-8", "replace"), ROWS
    ),
    st.builds(lambda v: "\n".join(map(json.dumps, v)).encode(), st.lists(JSON, max_size=4)),
    st.builds(lambda v, n: json.dumps(v, indent=n).encode(), JSON, st.sampled_from([None, 1])),
)


def read(raw: bytes, columns: Columns) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        path.write_bytes(raw)
        report = RowReport()
        try:
            for row in read_table(path, "t.csv", columns, report):
                assert isinstance(row.text, str)
                row.text.encode()
                tokenize(clean(row.text)[0])
            report.note_encoding()
            report.raise_if_any()
        except UserError as error:
            problems = error.problems
        else:
            problems = ()
        assert all("\n" not in problem for problem in problems)


def check(head: bytes, body: bytes, packed: bool, columns: Columns) -> None:
    read(gzip.compress(head + body) if packed else head + body, columns)


COLUMNS = st.sampled_from(
    [Columns(), Columns(("text",), "label"), Columns(("2",), "1"), Columns(encoding="cp1252")]
)


@SHORT
@given(HEADS, TABLES, st.booleans(), COLUMNS)
def test_any_table(head: bytes, body: bytes, packed: bool, columns: Columns) -> None:
    check(head, body, packed, columns)


@pytest.mark.proof
@LONG
@given(HEADS, TABLES, st.booleans(), COLUMNS)
def test_any_table_for_minutes(head: bytes, body: bytes, packed: bool, columns: Columns) -> None:
    check(head, body, packed, columns)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
def test_a_damaged_gzip_is_named(cut: float) -> None:
    whole = gzip.compress(b"label,text\n" + b"a,some text\n" * 100)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv.gz")
        path.write_bytes(whole[: int(len(whole) * cut)])
        with pytest.raises(UserError, match=r"t\.csv\.gz"):
            list(read_table(path, "t.csv.gz", Columns(), RowReport()))


def test_control_a_reader_without_checks_is_found_out() -> None:
    """The standard reader alone raises on what these tables hold."""
    import csv

    with pytest.raises(csv.Error):
        list(csv.reader(['"a', "b"], strict=True))
