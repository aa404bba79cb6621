"""From rows to splits: copies, fractions, ids, the cache; counts worked out by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hvdcore.errors import UserError
from hvdcore.files.cache import default_cache_dir
from hvdcore.testing.faults import NoDisk, small_disk
from news_cls.config import SAMPLE_NAMES, TrainConfig
from news_cls.data.clean import clean
from news_cls.data.dataset import Ragged, TextData, Texts, offsets_of, open_data
from news_cls.data.prepare import DataRequest, prepare, summary
from news_cls.data.sample import write_news
from news_cls.data.tokens import encode, tokenize
from news_cls.testing import news, write_official


def config(root: Path | str, **fields: object) -> TrainConfig:
    return TrainConfig.model_validate({"data": str(root), **fields})


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextData]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("sample")))
        yield prepare(TrainConfig())


def test_copies_are_left_out_and_counted(tmp_path: Path) -> None:
    train, test = news(20), news(8, first=100)
    train.append((train[0][0], "TITLE 0", "what happened  on day 0 was news ."))  # except for case
    test.append(train[1])
    test.append((3, "Title 2", "What happened on day 2 was news."))  # of class 2 in train
    train += [(0, "Both", "same text"), (1, "Both", "same text")]
    test.append((test[0][0], "Title #39;100", "What happened on day 100 was news."))
    test.append(test[0])
    write_official(tmp_path / "data" / "train.csv", train)
    write_official(tmp_path / "data" / "test.csv", test)
    data = prepare(config(tmp_path / "data", val_fraction=0))
    assert data.meta["left_out"] == {
        "duplicates": 2,  # one in train, whatever its case and spaces; one in test
        "two_classes": 4,  # both in train; and one of train that has another label in test
        "val_in_train": 0,
        "test_in_train": 1,
    }
    assert len(data.splits["train"]) == 20 - 1
    assert len(data.splits["test"]) == 8 + 1  # with the one that has an apostrophe more
    assert "2 duplicates, 4 with more than one label, 1 of test that train contains too" in summary(
        data
    )


def test_the_splits_do_not_depend_on_the_order(tmp_path: Path) -> None:
    rows = news(40)
    before = prepare(config(write_official(tmp_path / "a.csv", rows)))
    after = prepare(config(write_official(tmp_path / "b.csv", rows[::-1])))
    assert after.key == before.key
    assert list(after.splits["test"].texts) == list(before.splits["test"].texts)
    assert after.splits["test"].names[0] != before.splits["test"].names[0]


def test_a_class_that_is_lost_to_copies_is_named(tmp_path: Path) -> None:
    rows = [*news(8), *((label, "same", "text") for label in (0, 1))]
    path = write_official(tmp_path / "a.csv", [row for row in rows if row[0] or row[1] == "same"])
    with pytest.raises(UserError, match="class 'World' has no text to train on that does not"):
        prepare(config(path))


def test_the_vocabulary_is_of_train_alone(tmp_path: Path) -> None:
    write_official(tmp_path / "data" / "train.csv", [(0, "b a", "the the"), (1, "a c", "the d")])
    write_official(tmp_path / "data" / "test.csv", [(0, "secret", "the a"), (1, "c", "b")])
    data = prepare(config(tmp_path / "data", val_fraction=0))
    assert data.words == ("the", "a", "b", "c", "d")  # 3, 2, and 1 each by their text
    assert data.vocab_size == data.meta["vocab_size"] == 7
    by_text = {t: i.tolist() for p in data.splits.values() for t, i in zip(p.texts, p.ids)}  # noqa: B905
    assert by_text["b a the the"] == [4, 3, 2, 2]
    assert by_text["secret the a"] == [1, 2, 3]
    assert data.meta["unknown"] == {"train": 0.0, "val": 0.0, "test": 0.2}
    small = prepare(config(tmp_path / "data", val_fraction=0, vocab_size=4))
    assert small.words == ("the", "a")
    assert small.meta["unknown"] == {"train": 0.375, "val": 0.0, "test": 0.6}
    assert small.key != data.key


def test_long_texts_are_truncated_and_counted(tmp_path: Path) -> None:
    rows = [(0, "one two", "three"), (1, "one two", "three four"), (0, "five six", "one two three")]
    path = write_official(tmp_path / "a.csv", rows)
    data = prepare(config(path, val_fraction=0, test_fraction=0, max_length=3))
    assert data.meta["cut"] == {"train": 2, "val": 0, "test": 0}
    assert data.splits["train"].lengths.tolist() == [3, 3, 3]
    assert "four" not in data.words
    assert "five six one two three" in list(data.splits["train"].texts)


def test_ids_are_those_of_the_texts(sample: TextData) -> None:
    ids = {word: number for number, word in enumerate(sample.words, start=2)}
    for split in sample.splits.values():
        assert split.ids[0].dtype == np.int32
        for number in range(0, len(split), 7):
            expected = encode(tokenize(split.texts[number]), ids, sample.max_length)
            assert split.ids[number].tolist() == expected.tolist()


def test_labels_and_names_are_those_of_the_rows(sample: TextData) -> None:
    for split in sample.splits.values():
        for text, label, name in list(zip(split.texts, split.labels, split.names, strict=True))[
            ::50
        ]:
            assert name.startswith("sample row ")
            expected = write_news(int(name.split()[-1]) - 1)
            assert (label, text) == (expected[0], clean(expected[1])[0])


def test_the_sample(sample: TextData) -> None:
    assert sample.classes == ("World", "Sports", "Business", "Sci/Tech")
    assert sample.meta["parts"] == {"train": 3600, "val": 400, "test": 800}
    assert not any(sample.meta["left_out"].values())
    assert set(sample.meta["cleaned"]["rules"]) >= {"apostrophe", "tag", "backslash"}


def test_fewer_train_texts_are_stratified(sample: TextData) -> None:
    split = sample.train_subset(13, SAMPLE_NAMES)
    counts = np.bincount(split.labels)
    assert (counts.sum(), counts.min(), counts.max()) == (13, 3, 4)
    assert len(split.texts) == len(split.names) == len(split.ids) == 13
    assert split.lengths.tolist() == [len(row) for row in split.ids]
    assert sample.train_subset(None, SAMPLE_NAMES) is sample.splits["train"]
    with pytest.raises(UserError, match="num_train_texts: 3601 of only 3600 texts"):
        sample.train_subset(3601, SAMPLE_NAMES)


def test_ragged_rows() -> None:
    rows = Ragged(np.arange(6, dtype=np.int32), offsets_of([3, 0, 2, 1]))
    assert [row.tolist() for row in rows] == [[0, 1, 2], [], [3, 4], [5]]
    assert rows[-1].tolist() == [5]
    assert rows.lengths.tolist() == [3, 0, 2, 1]
    assert rows.padded(np.array([2, 0, 1]), 2).tolist() == [[3, 4], [0, 1], [0, 0]]
    assert rows.padded(np.array([3]), 4).dtype == np.int32
    taken = rows.take(np.array([3, 0, 2])).take(np.array([1, 0]))
    assert [row.tolist() for row in taken] == [[0, 1, 2], [5]]
    assert taken.lengths.tolist() == [3, 1]
    assert taken.padded(np.array([1, 0]), 3).tolist() == [[5, 0, 0], [0, 1, 2]]
    with pytest.raises(IndexError, match="row 4 of 4"):
        rows[4]
    none = Ragged(np.zeros(0, np.int32), offsets_of([0, 0]))
    assert none.padded(np.array([0, 1]), 2).tolist() == [[0, 0], [0, 0]]


def test_texts_are_decoded_when_accessed() -> None:
    raw = ["naïve", "", "日本"]
    flat = np.frombuffer("".join(raw).encode(), dtype=np.uint8)
    texts = Texts(Ragged(flat, offsets_of([len(text.encode()) for text in raw])))
    assert list(texts) == raw
    assert texts[1:] == ["", "日本"]


def test_two_at_once_prepare_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_official(tmp_path / "a.csv", news(400))
    found: list[TextData] = []
    threads = [
        threading.Thread(target=lambda: found.append(prepare(config(path)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({data.path for data in found}) == 1
    assert len(found) == 4
    assert len(list((default_cache_dir("news_cls") / "texts").iterdir())) == 1


SLOW = """
import importlib, sys, time
from pathlib import Path
from news_cls.config import TrainConfig
module = importlib.import_module("news_cls.data.prepare")
write = module.write
def slowly(made, content):
    write(made, content)
    Path(sys.argv[2]).touch()
    time.sleep(600)
module.write = slowly
module.prepare(TrainConfig(data=sys.argv[1]))
"""


def test_after_a_kill_the_data_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_official(tmp_path / "a.csv", news(40))
    line = [sys.executable, "-c", SLOW, str(path), str(tmp_path / "written")]
    killed = subprocess.Popen(line)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "written").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    assert (tmp_path / "written").exists()
    assert not (default_cache_dir("news_cls") / "texts").exists()
    data = prepare(config(path))
    assert data.meta["rows"] == 40
    left = [p for p in (default_cache_dir("news_cls") / "work").iterdir() if p.suffix != ".lock"]
    assert left == []


def test_a_new_row_makes_another_data_set(tmp_path: Path) -> None:
    before = prepare(config(write_official(tmp_path / "a.csv", news(40))))
    after = prepare(config(write_official(tmp_path / "a.csv", news(41))))
    assert after.key != before.key


def test_counts_are_those_of_the_file_itself(tmp_path: Path) -> None:
    """The same texts in another file, with other rows left out: the same key, other counts."""
    before = prepare(config(write_official(tmp_path / "a.csv", news(40))))
    after = prepare(config(write_official(tmp_path / "b.csv", [*news(40), (0, "", "")])))
    assert after.key == before.key
    assert before.meta["skipped"] == {}
    assert after.meta["skipped"]["empty text"]["examples"] == [f"{tmp_path / 'b.csv'} row 41"]


def test_a_damaged_cache_is_rebuilt(tmp_path: Path) -> None:
    path = write_official(tmp_path / "a.csv", news(40))
    data = prepare(config(path))
    (data.path / "meta.json").unlink()
    again = prepare(config(path))
    assert again.path == data.path
    assert len(open_data(again.path).splits["train"]) == len(data.splits["train"])


def test_the_second_time_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_official(tmp_path / "a.csv", news(40))
    data = prepare(config(path))
    monkeypatch.setattr("news_cls.data.prepare.build", None)
    assert prepare(config(path)).path == data.path


def test_data_of_another_version_is_an_error(sample: TextData, tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"schema": 0}')
    with pytest.raises(UserError, match="prepared by another version"):
        open_data(tmp_path)


def test_every_parameter_is_part_of_the_key() -> None:
    base = (0.1, 0.2, 100, 10)
    others = [(0.2, 0.2, 100, 10), (0.1, 0.1, 100, 10), (0.1, 0.2, 99, 10), (0.1, 0.2, 100, 9)]
    assert len({DataRequest(*numbers).digest("same") for numbers in (base, *others)}) == 5


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_official(tmp_path / "a.csv", news(4000))
    try:
        with small_disk(tmp_path / "small", kilobytes=64) as folder:
            monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
            with pytest.raises(UserError, match="disk is full; free some space or point XDG_CACHE"):
                prepare(config(path))
    except NoDisk as reason:
        pytest.skip(str(reason))
