"""Files of every format are read, detected from their content and not from their name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hvdcore.errors import UserError
from news_cls.config import TrainConfig
from news_cls.data.dataset import TextData
from news_cls.data.prepare import prepare, summary
from news_cls.testing import (
    News,
    news,
    write_csv,
    write_hub_csv,
    write_json_lines,
    write_official,
)

AG = ("World", "Sports", "Business", "Sci/Tech")
TRAIN, TEST = news(24), news(8, first=100)


def config(root: Path | str, **fields: object) -> TrainConfig:
    return TrainConfig.model_validate({"data": str(root), "val_fraction": 0.25, **fields})


def labels(data: TextData) -> dict[str, str]:
    """Class name by text."""
    return {
        text: data.classes[label]
        for split in data.splits.values()
        for text, label in zip(split.texts, split.labels, strict=True)
    }


EXPECTED = {f"{title} {text}": AG[label] for label, title, text in TRAIN + TEST}


def kaggle(path: Path, rows: list[News]) -> Path:
    return write_official(path, rows, ("Class Index", "Title", "Description"))


def parquet(path: Path, rows: list[News]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {"text": [f"{t} {d}" for _, t, d in rows], "label": [label for label, _, _ in rows]}
    )
    pq.write_table(table, path)
    return path


def json_array(path: Path, rows: list[News]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = [{"text": f"{t} {d}", "label": label} for label, t, d in rows]
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")
    return path


def zipped(write: Callable[[Path, list[News]], Path]) -> Callable[[Path, list[News]], Path]:
    def write_zipped(path: Path, rows: list[News]) -> Path:
        raw = write(path, rows).read_bytes()
        path.write_bytes(gzip.compress(raw))
        return path

    return write_zipped


def recoded(encoding: str, line_end: str = "\n") -> Callable[[Path, list[News]], Path]:
    def write_recoded(path: Path, rows: list[News]) -> Path:
        text = write_official(path, rows).read_text(encoding="utf-8").replace("\n", line_end)
        path.write_bytes(text.encode(encoding))
        return path

    return write_recoded


def semicolons(path: Path, rows: list[News]) -> Path:
    return write_csv(path, [(label + 1, t, d) for label, t, d in rows], delimiter=";")


def tabs(path: Path, rows: list[News]) -> Path:
    return write_csv(path, [(label + 1, t, d) for label, t, d in rows], delimiter="\t")


def named_labels(path: Path, rows: list[News]) -> Path:
    return write_csv(path, [("text", "label"), *((f"{t} {d}", AG[n]) for n, t, d in rows)])


def pandas_index(path: Path, rows: list[News]) -> Path:
    table = [(i, f"{t} {d}", f"{n}.0") for i, (n, t, d) in enumerate(rows)]
    return write_csv(path, [("", "text", "label"), *table])


def official_with_header(path: Path, rows: list[News]) -> Path:
    return write_official(path, rows, ("label", "title", "description"))


def official_json_lines(path: Path, rows: list[News]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = [{"label": n + 1, "title": t, "description": d} for n, t, d in rows]
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


FORMATS: dict[str, tuple[Callable[[Path, list[News]], Path], str, str]] = {
    "official": (write_official, "csv", ""),
    "kaggle": (kaggle, "csv", ""),
    "official with a header": (official_with_header, "csv", ""),
    "official json lines": (official_json_lines, "jsonl", ""),
    "hub csv": (write_hub_csv, "csv", ""),
    "parquet": (parquet, "parquet", ""),
    "json lines": (write_json_lines, "jsonl", ""),
    "json array": (json_array, "json", ""),
    "names as labels": (named_labels, "csv", ""),
    "pandas index": (pandas_index, "csv", ""),
    "semicolons": (semicolons, "csv", ""),
    "tabs": (tabs, "tsv", ""),
    "gzip": (zipped(write_official), "csv.gz", ""),
    "gzip named csv": (zipped(write_official), "csv", "gzip named .csv"),
    "parquet named csv": (parquet, "csv", "Parquet named .csv"),
    "json lines named csv": (write_json_lines, "csv", "JSON Lines named .csv"),
    "csv named gz": (write_official, "csv.gz", "not gzip, though named .gz"),
    "Excel's mark": (recoded("utf-8-sig"), "csv", "UTF-8 with a byte-order mark"),
    "UTF-16": (recoded("utf-16"), "csv", "UTF-16"),
    "UTF-16 the other way": (recoded("utf-16-be"), "csv", ""),
    "Windows line ends": (recoded("utf-8", "\r\n"), "csv", ""),
    "old line ends": (recoded("utf-8", "\r"), "csv", ""),
}

HEADERLESS = {
    "official", "semicolons", "tabs", "gzip", "gzip named csv", "csv named gz", "Excel's mark",
    "UTF-16", "UTF-16 the other way", "Windows line ends", "old line ends",
}  # fmt: skip


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_is_the_same_data(tmp_path: Path, file_format: str) -> None:
    write, suffix, note = FORMATS[file_format]
    for split, rows in (("train", TRAIN), ("test", TEST)):
        path = write(tmp_path / "data" / f"{split}.{suffix}", rows)
        if file_format == "UTF-16 the other way":
            path.write_bytes(b"\xfe\xff" + path.read_bytes())
            note = "UTF-16"
    data = prepare(config(tmp_path / "data"))
    assert data.classes == AG
    assert labels(data) == EXPECTED
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 16, "val": 8, "test": 8,
    }  # fmt: skip
    guesses = [text for text in data.meta["notes"] if text.startswith("file without a header: ")]
    assert bool(guesses) == (file_format in HEADERLESS)
    assert [text for text in data.meta["notes"] if text not in guesses] == ([note] if note else [])
    assert prepare(config(write_reference(tmp_path))).key == data.key


def write_reference(folder: Path) -> Path:
    write_official(folder / "reference" / "train.csv", TRAIN)
    write_official(folder / "reference" / "test.csv", TEST)
    return folder / "reference"


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00001.csv", "data/test-00000-of-00001.csv"),
        ("ag_news_csv/train.csv", "ag_news_csv/test.csv"),
        ("Training/0.csv", "TESTING/0.csv"),
        ("news_train.txt", "news_test.txt"),
        ("train", "test"),
    ],
)
def test_every_directory_layout(tmp_path: Path, names: tuple[str, str]) -> None:
    root = tmp_path / "data"
    for name, rows in zip(names, (TRAIN, TEST), strict=True):
        write_official(root / name, rows)
    (root / "README.md").write_text("About train and test.")
    (root / "dataset_infos.json").write_text("{}")
    assert prepare(config(root)).key == prepare(config(write_reference(tmp_path))).key


def test_a_val_split_in_the_data_is_kept(tmp_path: Path) -> None:
    write_reference(tmp_path)
    write_official(tmp_path / "reference" / "validation.csv", news(4, first=50))
    data = prepare(config(tmp_path / "reference"))
    assert {n: len(p) for n, p in data.splits.items()} == {"train": 24, "val": 4, "test": 8}
    assert set(data.splits["val"].names) == {f"validation.csv row {n}" for n in range(1, 5)}


def test_a_file_without_a_split_beside_splits_is_named(tmp_path: Path) -> None:
    root = write_reference(tmp_path)
    write_official(root / "sample_submission.csv", news(4, first=50))
    data = prepare(config(root))
    assert sum(map(len, data.splits.values())) == 32
    assert "1 file not read, its name contains no split" in summary(data)


def test_a_single_file_is_split_by_class(tmp_path: Path) -> None:
    path = write_official(tmp_path / "all.csv", news(80))
    data = prepare(config(path, val_fraction=0.1, test_fraction=0.2))
    assert {n: len(p) for n, p in data.splits.items()} == {"train": 56, "val": 8, "test": 16}
    assert data.meta["classes_of_parts"]["test"] == dict.fromkeys(AG, 4)
    assert data.meta["classes_of_parts"]["val"] == dict.fromkeys(AG, 2)


def test_another_table_by_its_columns(tmp_path: Path) -> None:
    rows = [("id", "head", "body", "topic")]
    rows += [(str(n), f"Head {n}", f"body {n}", ("zebra", "ant")[n % 2]) for n in range(12)]
    path = write_csv(tmp_path / "all.csv", rows)
    data = prepare(config(path, text_column="head,body", label_column="topic"))
    assert data.classes == ("ant", "zebra")
    assert labels(data)["Head 3 body 3"] == "ant"
    assert data.meta["classes_from"] == "the labels"
    only = prepare(config(path, text_column=("body",), label_column="topic"))
    assert labels(only)["body 3"] == "ant"


def test_numbers_as_labels_are_sorted_as_numbers(tmp_path: Path) -> None:
    rows = [{"words": f"text {n}", "stars": (1, 2, 10)[n % 3]} for n in range(12)]
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = prepare(config(path, text_column="words", label_column="stars"))
    assert data.classes == ("1", "2", "10")
    assert labels(data)["text 2"] == "10"


def test_two_of_the_four_numbers_are_not_taken_for_world_and_sports(tmp_path: Path) -> None:
    path = write_hub_csv(tmp_path / "all.csv", [row for row in news(40) if row[0] < 2])
    assert prepare(config(path)).classes == ("0", "1")


@pytest.mark.parametrize("first", [0, 1])
def test_names_from_classes_txt(tmp_path: Path, first: int) -> None:
    rows = [("label", "text"), *((n % 3 + first, f"text {n}") for n in range(12))]
    write_csv(tmp_path / "all.csv", rows)
    (tmp_path / "classes.txt").write_text("\ufeffred\n\ngreen\r\nblue\n", encoding="utf-8")
    flags = {"text_column": "text", "label_column": "label"}
    data = prepare(config(tmp_path / "all.csv", **flags))
    assert data.classes == ("red", "green", "blue")
    assert labels(data)["text 4"] == "green"
    assert data.meta["classes_from"] == "classes.txt"


def test_names_from_the_parquet_file(tmp_path: Path) -> None:
    table = pa.table({"text": [f"text {n}" for n in range(8)], "label": [n % 2 for n in range(8)]})
    feature = {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": feature})})
    pq.write_table(table, tmp_path / "all.parquet")
    data = prepare(config(tmp_path / "all.parquet"))
    assert data.classes == ("neg", "pos")
    assert labels(data)["text 1"] == "pos"


def test_fourteen_classes_in_the_official_format(tmp_path: Path) -> None:
    rows = [(n % 14 + 1, f"Title {n}", f"text {n}") for n in range(56)]
    write_csv(tmp_path / "train.csv", rows)
    (tmp_path / "classes.txt").write_text("".join(f"class {n}\n" for n in range(14)))
    data = prepare(config(tmp_path / "train.csv"))
    assert data.classes == tuple(f"class {n}" for n in range(14))


def test_quoted_line_breaks_and_quotes_stay_in_the_text(tmp_path: Path) -> None:
    rows = [(n % 4 + 1, f"Title {n}", f'He said "{n}",\nand left') for n in range(12)]
    data = prepare(config(write_csv(tmp_path / "train.csv", rows)))
    assert 'Title 3 He said "3", and left' in labels(data)


def test_a_misspelled_path_gets_a_suggestion(tmp_path: Path) -> None:
    write_official(tmp_path / "train.csv", TRAIN)
    with pytest.raises(UserError, match=r"no such file or folder; did you mean '.*train\.csv'"):
        prepare(config(tmp_path / "trian.csv"))
    with pytest.raises(UserError, match="did you mean 'sample'"):
        prepare(config("sampel"))
