"""Near-duplicates: similarity is estimated well, and similar documents share one split."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from textgen.data.config import DataConfig
from textgen.data.corpus import Corpus
from textgen.data.dedup import BANDS, SKETCH_SIZE, Sketcher, band_hashes, find_groups
from textgen.data.documents import blocks_of
from textgen.data.prepare import prepare
from textgen.prepare_command import _remarks

WORDS = [f"w{number}" for number in range(5000)]


def made_up(seed: int, num_words: int = 4000) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=num_words))


def changed(text: str, share: float, seed: int = 0) -> str:
    """Another edition: a share of the words is another, and it begins otherwise."""
    draw = random.Random(seed)
    words = [draw.choice(WORDS) if draw.random() < share else word for word in text.split(" ")]
    return "Printed for the editor.\n\n" + " ".join(words)


def similarity(one: str, other: str) -> float:
    """Jaccard's, of the sets of five words in a row."""
    sets = []
    for text in (one, other):
        words = re.findall(r"\w+", text.lower())
        sets.append({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def sketch(text: str) -> np.ndarray:
    sketcher = Sketcher()
    for block in blocks_of([text.encode()]):
        sketcher.feed(np.frombuffer(block, dtype=np.uint8))
    found = sketcher.sketch()
    assert found is not None
    return found


@pytest.mark.parametrize("share", [0.0, 0.005, 0.02, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("num_words", [60, 800, 60_000])  # most entries empty; few; two blocks
def test_sketches_estimate_the_similarity(share: float, num_words: int) -> None:
    text = made_up(1, num_words)
    other = changed(text, share)
    found = (sketch(text) == sketch(other)).mean()
    assert found == pytest.approx(similarity(text, other), abs=0.045 * 4)


def test_case_and_what_stands_between_words_do_not_count() -> None:
    one = "Call me Ishmael. Some years ago \u2014 never mind how long \u2014 I went to sea."
    other = "CALL ME\nISHMAEL; some years ago, never mind, how long; I  went to sea"
    # The dash, a character of another script for all we know, is a word: two of it, eight shingles.
    assert (sketch(one.replace(" \u2014", "")) == sketch(other)).all()
    assert (sketch(made_up(1)) == sketch(made_up(2))).mean() < 0.05


def test_scripts_without_blanks_have_words() -> None:
    draw = random.Random(1)
    text = "".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(3000))
    edition = text[:1500] + "\u5929\u5730" + text[1500:]
    assert (sketch(text) == sketch(edition)).mean() > 0.9
    assert (sketch(text) == sketch(text[::-1])).mean() < 0.05


def test_groups_are_those_that_were_planted() -> None:
    draw = np.random.default_rng(0)
    sketches = draw.integers(1 << 32, size=(40, SKETCH_SIZE), dtype=np.uint32)
    for copy, original, changes in ((7, 3, 10), (21, 7, 10), (30, 3, 38), (35, 10, 50)):
        sketches[copy] = sketches[original]
        sketches[copy, draw.permutation(SKETCH_SIZE)[:changes]] += np.uint32(1)
    bands = band_hashes(sketches)
    bands[:, 11:13] = 0  # without words: like no other, and not like each other
    sketches[12] = sketches[11]
    found = find_groups(40, BANDS, lambda b: bands[b], lambda numbers: sketches[numbers], 0.7)
    expected = np.arange(40)
    expected[[7, 21, 30]] = 3  # 35 shares 61 % with 10: below the threshold
    assert found.tolist() == expected.tolist()


def splits_of(corpus: Corpus) -> dict[str, str]:
    """The split of each document, by its first word."""
    found = {}
    for name in ("train", "test", "val"):
        blocks = corpus.split(name)
        assert blocks is not None
        texts = bytes(blocks.tokens.astype(np.uint8)).decode().split("\0")[1:]
        found |= {text.split(" ")[-1]: name for text in texts}
    return found


@pytest.fixture
def editions(tmp_path: Path) -> Path:
    """30 books of three editions each; the last word names book and edition."""
    path = tmp_path / "books.jsonl"
    with path.open("w") as file:
        for edition in range(3):
            for book in range(30):
                text = changed(made_up(book), 0.01 * edition, seed=edition)
                file.write(json.dumps({"text": f"{text} {book}/{edition}"}) + "\n")
    return path


def prepared(path: Path, threshold: float) -> Corpus:
    return prepare(
        DataConfig(
            data=str(path), tokenizer="byte", context_length=8, val_fraction=0.2,
            near_duplicate_threshold=threshold,
        ),
        cache_dir=path.parent / "cache",
    )  # fmt: skip


def test_editions_of_a_book_are_in_one_split(editions: Path) -> None:
    corpus = prepared(editions, 0.7)
    splits = splits_of(corpus)
    assert len(splits) == 90
    for book in range(30):
        assert len({splits[f"{book}/{edition}"] for edition in range(3)}) == 1
    assert set(splits.values()) == {"train", "test", "val"}
    near = corpus.meta["near_duplicates"]
    assert (near["groups"], near["documents"], len(near["examples"])) == (30, 90, 5)
    # Lines 1, 31 and 61 are editions of one book.
    lines = [[int(name.split()[-1]) for name in pair] for pair in near["examples"]]
    assert all(first != second and (first - second) % 30 == 0 for first, second in lines)
    (line,) = _remarks(corpus)
    assert line.startswith("near-duplicates: 90 documents in 30 groups, each kept in one split: ")
    assert f"{editions} line {lines[0][0]} and {editions} line {lines[0][1]}; " in line


def test_control_without_the_search_they_leak(editions: Path) -> None:
    """The control: by their own hashes some editions are in train and others in test or val."""
    corpus = prepared(editions, 1)
    splits = splits_of(corpus)
    divided = [
        book for book in range(30) if len({splits[f"{book}/{edition}"] for edition in range(3)}) > 1
    ]
    assert len(divided) > 3
    assert corpus.meta["near_duplicates"]["groups"] == 0
