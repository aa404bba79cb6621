"""What hostile or unusual tables do: patterns stay linear, memory bounded, guesses are told."""

from __future__ import annotations

import gzip
import json
import re
import resource
import time
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from news_cls.config import DataFields
from news_cls.data import tables
from news_cls.data.clean import RULES, clean
from news_cls.data.prepare import prepare, summary
from news_cls.data.tokens import tokenize

MEGABYTE = 1 << 20
UNITS = [
    "\\n", "\\", "&", "&amp;", "amp;", " amp;", "#038;", "#0", "&#", "#x0", "&#x", "&lt;", "<a ",
    "<", "</b ", "<a/", " #39", "& ", " ", "\x00 ", "\u200b", "0", "&#00000000039", "quot;", ";",
    "a-", "'",
]  # fmt: skip
WORDS = ["market", "stocks", "match", "team", "vote", "court", "chip", "robot"]


def seconds(text: str) -> float:
    began = time.process_time()
    tokenize(clean(text)[0])
    return time.process_time() - began


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("end", ["", "a", "A", ";", ">"])
def test_no_pattern_is_quadratic(unit: str, end: str) -> None:
    """Four times the text takes about four times as long, not sixteen."""
    short, long = (unit * (size // len(unit)) + end for size in (MEGABYTE // 16, MEGABYTE // 4))
    seconds(short)
    spent = min(seconds(short) for _ in range(2))
    assert seconds(long) < 10 * spent + 0.2


def test_the_measure_finds_the_pattern_that_was_there() -> None:
    """Control: without a bound a run of 4,000 line breaks is tried from each of its beginnings."""

    def measure(count: int) -> float:
        began = time.process_time()
        re.sub(r"(?:\\n)+([A-Z])", r" \1", "\\n" * count)
        return time.process_time() - began

    assert measure(16_000) > 10 * measure(4_000)


@pytest.mark.proof
@pytest.mark.parametrize("unit", UNITS)
def test_tensorflow_reads_megabytes_in_linear_time(unit: str) -> None:
    import tensorflow as tf

    text = unit * (4 * MEGABYTE // len(unit))
    began = time.process_time()
    for rule in RULES:
        tf.strings.regex_replace(text, rule.pattern, rule.replacement)
    assert time.process_time() - began < 60


def test_runs_of_line_breaks_are_cleaned_as_before() -> None:
    assert clean("one\\n\\nTwo")[0] == "one Two"
    assert clean("a" + "\\n" * 16 + "B")[0] == "a B"
    assert clean("a\\nb")[0] == "a nb"


def write_table(path: Path, labels: list[int], header: str = "") -> Path:
    rows = [
        f"{label},{WORDS[label % 8]} {number},{WORDS[(label + 1) % 8]} item {number}"
        for label in labels
        for number in range(12)
    ]
    path.write_text(header + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def fields(path: Path, **changes: object) -> DataFields:
    return DataFields(data=str(path), **changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([1, 2], ("1", "2")),
        ([1, 2, 3], ("1", "2", "3")),
        ([1, 2, 3, 4], ("World", "Sports", "Business", "Sci/Tech")),
        ([0, 1, 2, 3], ("0", "1", "2", "3")),
    ],
)
def test_ag_news_names_only_where_all_its_labels_occur(
    tmp_path: Path, labels: list[int], classes: tuple[str, ...]
) -> None:
    data = prepare(fields(write_table(tmp_path / "t.csv", labels)))
    assert data.classes == classes
    # The guess is told, and how to read the file otherwise.
    assert "label from column 1, text from 2, 3 (others: --label-column" in summary(data)


@pytest.mark.parametrize(
    ("train", "test"),
    [(range(1, 15), range(1, 15)), (range(1, 6), range(1, 6)), (range(1, 7), range(1, 5))],
    ids=["DBpedia", "Sogou", "six classes"],
)
def test_more_classes_in_the_form_of_ag_news(tmp_path: Path, train: range, test: range) -> None:
    """A control is in test_bad_input: a 5 in train alone is a slip, and an error."""
    for name, labels in (("train", train), ("test", test)):
        rows = [f'"{label}","Title","{name} {label} {n}"' for label in labels for n in range(12)]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
    assert prepare(fields(tmp_path)).classes == tuple(map(str, train))


def test_columns_without_names_are_chosen_by_number(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{n},{WORDS[n % 2]} text {n},{'ab'[n % 2]}" for n in range(24)]
    path.write_text("\n".join(rows) + "\n")
    data = prepare(fields(path, label_column="3", text_column=("2",)))
    assert data.classes == ("a", "b")
    assert "without a header" not in summary(data)
    with pytest.raises(UserError, match="give the columns by number"):
        prepare(fields(path, label_column="kind", text_column=("2",)))


def test_a_class_of_unusable_rows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{'ab'[n % 2]},some {WORDS[n % 8]} {n}" for n in range(24)]
    path.write_text("label,text\n" + "\n".join([*rows, "c,", "c, ", "d,&nbsp;"]) + "\n")
    with pytest.raises(UserError, match="no row of label 'c' can be used") as caught:
        prepare(fields(path))
    assert "no row of label 'd'" in caught.value.problems[1]
    path.write_text("label,text\n" + "\n".join([*rows, "a,", "b, "]) + "\n")
    assert prepare(fields(path)).classes == ("a", "b")  # control: others are left


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_line_that_does_not_fit_into_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"t.{kind}.gz"
    start = b"label,text\n" if kind == "csv" else b'{"label": 1, "text": "'
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(start)
        for _ in range(200):
            file.write(b"x" * MEGABYTE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="is longer than 16,777,216 characters; is it a table"):
        prepare(fields(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024  # KiB


def test_an_array_that_does_not_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_LONGEST_ARRAY", 10_000)
    path = tmp_path / "t.json"
    rows = [{"label": "ab"[n % 2], "text": f"{WORDS[n % 8]} {n} text"} for n in range(40)]
    path.write_text(json.dumps(rows))
    assert prepare(fields(path)).classes == ("a", "b")  # control
    path.write_text(json.dumps(rows * 20))
    with pytest.raises(UserError, match="save it as JSON Lines"):
        prepare(fields(path))
