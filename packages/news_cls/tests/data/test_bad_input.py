"""Wrong data gives one line with file, row and fix, or is skipped and counted."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hvdcore.errors import UserError
from news_cls.config import DataFields, TrainConfig
from news_cls.data.prepare import prepare, summary
from news_cls.data.tables import find_delimiter
from news_cls.testing import news, write_csv, write_hub_csv, write_json_lines, write_official

GOOD = news(24)


def config(root: Path | str, **fields: object) -> TrainConfig:
    return TrainConfig.model_validate({"data": str(root), **fields})


def problems(root: Path, **fields: object) -> list[str]:
    with pytest.raises(UserError) as caught:
        prepare(config(root, **fields))
    assert all("\n" not in line for line in caught.value.problems)
    return list(caught.value.problems)


def lines_of(path: Path) -> list[str]:
    return write_official(path, GOOD).read_text().splitlines()


def with_line(number: int, line: str) -> Callable[[Path], Path]:
    """The official form, with one row (from 1) that is another."""

    def write(folder: Path) -> Path:
        path = folder / "train.csv"
        lines = lines_of(path)
        lines[number - 1] = line
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def with_bytes(name: str, raw: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(raw)
        return folder / name

    return write


def long_labels(folder: Path) -> Path:
    rows = [f"text {number},{'ab'[number % 2] * 300}" for number in range(24)]
    (folder / "train.csv").write_text("\n".join(["text,label", *rows]))
    return folder


def texts_in_folders(folder: Path) -> Path:
    """IMDB's layout."""
    for number in range(40):
        path = folder / ("train", "test")[number % 2] / ("neg", "pos")[number // 20]
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{number}_7.txt").write_text("a fine film")
    return folder


def save_to_disk(folder: Path) -> Path:
    path = folder / "ds" / "train"
    path.mkdir(parents=True)
    (path / "data-00000-of-00001.arrow").write_bytes(b"\xff\xff\xff\xff")
    for name in ("state.json", "dataset_info.json"):
        (path / name).write_text('{"_split": "train"}')
    return folder


def header_without_known_names(folder: Path) -> Path:
    return write_official(folder / "train.csv", GOOD, ("Klasse", "Titel", "Text"))


def unknown_columns(folder: Path) -> Path:
    (folder / "a.jsonl").write_text('{"body": "x", "kind": 1}\n')
    return folder / "a.jsonl"


def cut_gzip(folder: Path) -> Path:
    raw = write_official(folder / "train.csv", news(4000)).read_bytes()
    (folder / "train.csv").write_bytes(gzip.compress(raw)[:-4000])
    return folder / "train.csv"


def cut_parquet(folder: Path) -> Path:
    table = pa.table({"text": [f"text {n}" for n in range(400)], "label": [0, 1] * 200})
    pq.write_table(table, folder / "a.parquet")
    (folder / "a.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-20])
    return folder / "a.parquet"


def one_class(folder: Path) -> Path:
    return write_official(folder / "train.csv", [row for row in GOOD if row[0] == 2])


def test_without_train(folder: Path) -> Path:
    write_official(folder / "test.csv", GOOD)
    return folder


test_without_train.__test__ = False  # type: ignore[attr-defined]


def unknown_in_test(folder: Path) -> Path:
    write_official(folder / "train.csv", [row for row in GOOD if row[0] != 3])
    write_official(folder / "test.csv", news(4, first=90))
    return folder


def no_files(folder: Path) -> Path:
    (folder / "image.png").write_bytes(b"x")
    return folder


def header_only(folder: Path) -> Path:
    return write_hub_csv(folder / "a.csv", [])


def label_in_json(folder: Path) -> Path:
    path = write_json_lines(folder / "a.jsonl", GOOD)
    path.write_text(path.read_text() + '{"text": "x"}\n[1]\n{"text": "y"')
    return path


def test_set_without_labels(folder: Path) -> Path:
    """As GLUE's tasks come: the labels of test are secret."""
    for name, labels_ in (("train", (0, 1)), ("test", (-1, -1))):
        rows = [{"label": labels_[n % 2], "text": f"{name} {n}"} for n in range(24)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


test_set_without_labels.__test__ = False  # type: ignore[attr-defined]


def labels(*values: object) -> Callable[[Path], Path]:
    """A Parquet file of 24 rows that have these labels in turn."""

    def write(folder: Path) -> Path:
        count = 12 * len(values)
        rows = {"label": [*values] * 12, "text": [f"word {n}" for n in range(count)]}
        pq.write_table(pa.table(rows), folder / "a.parquet")
        return folder / "a.parquet"

    return write


CASES: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "too few columns": (
        with_line(5, '"1","only a title"'), ["train.csv: row 5: 2 columns where row 1 has 3"],
    ),
    "unclosed quote": (
        with_line(7, '"3","Title","the quote never closes'),
        ["train.csv: row 7 (line 7): a quote that opens in it is not closed"],
    ),
    "unclosed last quote": (
        with_line(24, '"3","Title","the quote never closes'),
        ["train.csv: row 24 (line 24): a quote that opens in it is not closed"],
    ),
    "quote not doubled": (
        with_line(2, '"3","Title","he "said" so"'),
        ["train.csv: row 2 (line 2): a quote that opens in it"],
    ),
    "label too large": (
        with_line(9, '"5","Title","text"'),
        ["train.csv: row 9: label '5' is neither one of 1..4 nor one of the names (AG News)"],
    ),
    "label zero": (with_line(3, '"0","Title","text"'), ["train.csv: row 3: label '0' is neither"]),
    "a text for a label": (long_labels, ["data: a label of 300 characters ('aaaa"]),
    "texts in folders": (texts_in_folders, ["40 files without a table's suffix, such as test/neg"]),
    "save_to_disk": (save_to_disk, ["ds/train: a data set that datasets saved as Arrow ("]),
    "Arrow stream": (
        with_bytes("train.parquet", b"\xff\xff\xff\xff" + b"x" * 99), ["an Arrow stream; save it"],
    ),
    "no label": (with_line(3, '"","Title","text"'), ["train.csv: row 3: no label; give one"]),
    "header in the middle": (
        with_line(3, "Class Index,Title,Description"),
        ["train.csv: row 3: label 'Class Index' is neither one of 1..4"],
    ),
    "unknown header": (
        header_without_known_names, ["train.csv: row 1 begins with 'Klasse', which is not a label"],
    ),
    "unknown columns": (unknown_columns, ["a.jsonl: its columns are body, kind; name those"]),
    "one class": (one_class, ["data: only one class, 3; give rows of two or more"]),
    "test without train": (test_without_train, ["it has test but no train"]),
    "unknown in test": (
        unknown_in_test, ["test.csv: row 2: label '4', which train does not have"],
    ),
    "no files": (no_files, ["no data files in it; give a file, or a folder with train.csv"]),
    "header only": (header_only, ["a.csv: a header and no rows"]),
    "empty": (with_bytes("a.csv", b""), ["a.csv: empty; add rows, or remove it"]),
    "labels that are lists": (
        labels(["x"], ["y"]), ["a.parquet: rows 1, 2, 3 and 21 more: the label"],
    ),
    "rows without a label": (
        labels(0, 1, 2, -1), ["a.parquet: rows 4, 8, 12 and 9 more: label '-1', which Hugging F"],
    ),
    "rows without a label, as texts": (
        labels("0", "-1", "1", "2.0"), ["a.parquet: rows 2, 6, 10 and 9 more: label '-1', which"],
    ),
    "rows that a loss ignores": (
        labels(0, 1, 2, -100), ["a.parquet: rows 4, 8, 12 and 9 more: label '-100', which Hugg"],
    ),
    "a test set without labels": (
        test_set_without_labels, ["test.jsonl: rows 1, 2, 3 and 21 more: label '-1', which Hug"],
    ),
    "labels that are bytes": (labels(b"x", b"y"), ["the label ('label') is a bytes; give a"]),
    "NUL in a label": (
        with_bytes("a.csv", b"label,text\nx\0,one\ny,two\n"),
        ["a.csv: row 2: the label ('label') contains NUL bytes"],
    ),
    "label not UTF-8": (
        with_bytes("a.csv", b"label,text\n\xe9t\xe9,one\ny,two\n"),
        ["a.csv: row 2: the label ('label') is not UTF-8; give --encoding"],
    ),
    "label that JSON spells as half a character": (
        with_bytes("a.jsonl", b'{"label": "\\ud800", "text": "one"}'),
        ["a.jsonl: row 1: the label ('label') is not UTF-8"],
    ),
    "only blanks": (with_bytes("a.csv", b"\n\n \n"), ["a.csv: empty"]),
    "gzip of nothing": (with_bytes("a.csv", gzip.compress(b"")), ["a.csv: empty"]),
    "zip": (with_bytes("a.csv", b"PK\x03\x04abc"), ["a.csv: a zip archive or an Excel workbook"]),
    "UTF-16 without mark": (
        with_bytes("a.csv", '"1","a","b"\n'.encode("utf-16-le")), ["a.csv: not text (a fifth"],
    ),
    "half a UTF-16": (
        with_bytes("a.csv", '\ufeff"1","a","b"\n'.encode("utf-16-le")[:-1]),
        ["a.csv: not UTF-16 as its byte-order mark says"],
    ),
    "one column": (with_bytes("a.csv", b"just words\nmore words\n"), ["row 1 has one column"]),
    "cut gzip": (cut_gzip, ["train.csv: truncated gzip; download it again"]),
    "cut parquet": (cut_parquet, ["a.parquet: damaged Parquet ("]),
    "broken JSON": (
        label_in_json,
        [
            "a.jsonl: row 25: no 'label'; give it, or remove the row",
            "a.jsonl: row 26: not a JSON object; give one per row",
            "a.jsonl: row 27: not JSON; give one object per line",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_clear_line(tmp_path: Path, case: str) -> None:
    write, expected = CASES[case]
    found = problems(write(tmp_path))
    assert len(found) == len(expected), found
    for line, text in zip(found, expected, strict=True):
        assert text in line
        assert line.startswith("data: ")


def test_several_problems_at_once(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    lines = lines_of(path)
    for number in (2, 4, 6, 8):
        lines[number] = '"1","two"'
    lines[10] = '"7","Title","text"'
    path.write_text("\n".join(lines))
    write_official(tmp_path / "test.csv", GOOD).write_text('"1","Title","open\n')
    found = problems(tmp_path)
    assert len(found) == 3
    assert "test.csv: row 1 (line 1): a quote that opens in it" in found[0]
    assert "train.csv: rows 3, 5, 7 and 1 more: 2 columns where row 1 has 3" in found[1]
    assert "train.csv: row 11: label '7'" in found[2]


def test_an_unclosed_quote_after_quoted_lines_is_named_by_row_and_line(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text('1,"two\nlines",a\n2,b,"open\n' + "3,c,d\n" * 200_000)
    found = problems(path)
    assert len(found) == 1
    assert "train.csv: row 2 (line 3): a quote that opens in it" in found[0]


def test_columns_that_do_not_exist(tmp_path: Path) -> None:
    hub = write_hub_csv(tmp_path / "a.csv", GOOD)
    assert problems(hub, text_column="body", label_column="topic") == [
        "text_column: a.csv: no column 'body'; it has text, label".replace("a.csv", str(hub)),
        "label_column: a.csv: no column 'topic'; it has text, label".replace("a.csv", str(hub)),
    ]
    bare = write_official(tmp_path / "train.csv", GOOD)
    (line,) = problems(bare, text_column="text", label_column="label")
    assert "row 1 is not a header (1, Title 0, What happened" in line
    assert "leave --text-column and --label-column out" in line
    assert problems(Path("sample"), text_column="text") == [
        "data: the sample has no columns; leave --text-column out"
    ]


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    """One of them would be read, and nobody knows which."""
    path = tmp_path / "a.csv"
    rows = [f"good news {n},bad weather {n},{n % 2}" for n in range(40)]
    path.write_text("\n".join(["text,text,label", *rows]))
    assert problems(path) == [f"data: {path}: 2 columns are called 'text'; rename the others"]
    path.write_text("\n".join(["text,other,label", *rows]))
    prepare(config(path))  # control


def test_unusable_rows_are_counted_with_examples(tmp_path: Path) -> None:
    path = write_official(tmp_path / "train.csv", GOOD)
    odd = [
        b'"1","",""', b'"2"," ","\xc2\xa0"', b'"3","Caf\xe9","latin"', b'"4","N\x00UL","text"',
        b'"1","&lt;br&gt;","\\"',
    ]  # fmt: skip
    path.write_bytes(path.read_bytes() + b"\n".join(odd) + b"\n\n")
    data = prepare(config(path))
    assert data.meta["skipped"] == {
        "empty text": {"count": 2, "examples": [f"{path} row 25", f"{path} row 26"]},
        "not UTF-8": {"count": 1, "examples": [f"{path} row 27"]},
        "NUL bytes": {"count": 1, "examples": [f"{path} row 28"]},
        "nothing but residue": {"count": 1, "examples": [f"{path} row 29"]},
    }
    assert data.meta["rows"] == 29
    assert sum(data.meta["parts"].values()) == 24
    assert "left out: 2 empty text, 1 not UTF-8, 1 NUL bytes" in summary(data)


def test_a_file_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    rows = [(n % 4 + 1, f"Título {n}", "niño") for n in range(24)]
    path = write_csv(tmp_path / "train.csv", rows)
    path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1"))
    found = problems(path)
    assert "most rows cannot be used: 24 not UTF-8" in found[0]
    assert "iconv" in found[0]


def test_a_megabyte_in_one_row_is_used_and_noted(tmp_path: Path) -> None:
    rows = [*GOOD, (0, "Long", "word " * 200_000), (1, "Longer", "x" * 1_000_000)]
    data = prepare(config(write_official(tmp_path / "train.csv", rows)))
    assert data.meta["notes"]["text longer than 100,000 characters"]["count"] == 2
    assert sum(data.meta["cut"].values()) == 1
    lengths = [max(split.lengths) for split in data.splits.values() if len(split)]
    assert max(lengths) == 80


def test_lone_surrogates_and_other_types_in_json(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "a.jsonl", GOOD)
    more = [{"text": "\ud800 half", "label": 1}, {"text": None, "label": 1}]
    path.write_text(path.read_text() + "".join(json.dumps(row) + "\n" for row in more))
    assert {k: v["count"] for k, v in prepare(config(path)).meta["skipped"].items()} == {
        "not UTF-8": 1, "empty text": 1,
    }  # fmt: skip
    path.write_text(path.read_text() + json.dumps({"text": ["a"], "label": 1}) + "\n")
    assert "row 27: 'text' is a list; give another --text-column" in problems(path)[0]


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_official(tmp_path / "train.csv", GOOD)
    if os.geteuid() == 0:  # whom no mode keeps out
        real = Path.open

        def refuse(self: Path, *args: object, **kwargs: object) -> object:
            if self == path:
                raise PermissionError(13, "Permission denied", str(path))
            return real(self, *args, **kwargs)  # type: ignore[call-overload]

        monkeypatch.setattr(Path, "open", refuse)
    else:
        path.chmod(0)
    assert problems(path) == [f"data: {path}: cannot be read (Permission denied)"]


def test_bad_class_names(tmp_path: Path) -> None:
    path = write_official(tmp_path / "train.csv", GOOD)
    (tmp_path / "classes.txt").write_text("World\nWorld\n")
    assert "classes.txt: 2 names; give two or more, each once" in problems(path)[0]
    (tmp_path / "classes.txt").write_text("World\nSports\n")
    found = problems(path)
    assert len(found) == 2
    assert "label '3' is neither one of 1..2 nor one of the names (classes.txt)" in found[0]


def test_every_row_of_a_wrong_label_is_counted(tmp_path: Path) -> None:
    rows = [*GOOD, *((8, "Title", f"text {n}") for n in range(5))]
    (line,) = problems(write_official(tmp_path / "train.csv", rows))
    assert "train.csv: rows 25, 26, 27 and 2 more: label '9' is neither" in line


@pytest.mark.parametrize(
    ("first", "delimiter"),
    [
        ('"1","a; b; c; d","e"', ","),
        ("1,a; b; c; d,e", ","),
        ("1;a, b, c;d", ";"),
        ("1\ta, b; c\td", "\t"),
        ("text,label", ","),
        ('"a ""quoted"", text";1', ";"),
        ("words", ","),
    ],
)
def test_the_delimiter_is_the_first_outside_of_quotes(first: str, delimiter: str) -> None:
    assert find_delimiter(first) == delimiter


def test_labels_of_many_digits_are_classes_of_their_own(tmp_path: Path) -> None:
    """A float has 53 bits, and Python converts no more than 4,300 digits."""
    first, second, huge = "9007199254740993.0", "9007199254740992.0", "9" * 5000
    rows = [f"{(first, second, huge)[n % 3]},word {n}" for n in range(24)]
    (tmp_path / "a.csv").write_text("\n".join(["label,text", *rows]))
    names = prepare(config(tmp_path / "a.csv")).classes
    assert set(names) == {first[:-2], second[:-2], huge}


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ((-1, 0, 1), "1 classes named as a missing label"),
        ((-1, 1), "1 classes named as a missing label"),
        (("World", "nan", "NULL"), "2 classes named as a missing label"),
        (("minus", "zero", "one", "two"), ""),
    ],
)
def test_a_class_that_may_be_no_label_is_noted(
    tmp_path: Path, values: tuple[object, ...], note: str
) -> None:
    """-1 is a class of sentiments too."""
    data = prepare(DataFields(data=str(labels(*values)(tmp_path))))
    assert sorted(data.classes) == sorted(map(str, values))
    assert note in summary(data)
    assert ("named as a missing label" in summary(data)) == bool(note)
