"""Starting vectors: neighbors decide them, files bring them, and wrong files say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvdcore.errors import UserError
from news_cls.data.dataset import Ragged, offsets_of
from news_cls.model.embeddings import STANDARD_DEVIATION, ppmi_vectors, random_vectors, read_vectors


def ragged(rows: list[list[int]]) -> Ragged:
    flat = np.array([i for row in rows for i in row], dtype=np.int32)
    return Ragged(flat, offsets_of([len(row) for row in rows]))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_words_with_the_same_neighbors_are_alike() -> None:
    draw = np.random.default_rng(0)
    # 2 and 3 stand beside 10..19, 4 beside 20..29.
    rows = [[w, int(draw.integers(10, 20))] for w in (2, 3) for _ in range(300)]
    rows += [[4, int(draw.integers(20, 30))] for _ in range(300)]
    found = ppmi_vectors(ragged(rows), 40, 4, 0)
    assert found.shape == (40, 4)
    assert cosine(found[2], found[3]) > 0.9 > 0.5 > cosine(found[2], found[4])
    assert (found[0] == 0).all()
    known = [2, 3, 4, *range(10, 30)]
    assert found[known].std() == pytest.approx(STANDARD_DEVIATION, rel=0.2)
    assert (found == ppmi_vectors(ragged(rows), 40, 4, 0)).all()


def test_too_few_words_start_at_random() -> None:
    found = ppmi_vectors(ragged([[2, 3]]), 5, 8, 1)
    assert (found == random_vectors(5, 8, 1)).all()
    assert (ppmi_vectors(ragged([]), 50, 8, 1) == random_vectors(50, 8, 1)).all()


@pytest.mark.parametrize("head", ["", "3 2\n"])
def test_files_of_both_kinds(tmp_path: Path, head: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(head + "sea 1 2\nhill 3 4\nother 9 9\n", encoding="utf-8")
    found = read_vectors(path, ("hill", "lake", "sea"), 0)
    assert found.shape == (5, 2)
    scale = STANDARD_DEVIATION / np.array([1.0, 2.0, 3.0, 4.0]).std()
    assert found[[4, 2]].ravel() == pytest.approx(np.array([1.0, 2.0, 3.0, 4.0]) * scale)
    assert (found[3] == random_vectors(5, 2, 0)[3]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hill 1 x\n", "line 1: '1 x' is not a vector"),
        ("hill 1 2\nsea 1\n", "line 2: 1 numbers, but 2 in the lines before"),
        ("tree 1 2\n", "none of the 2 words"),
        ("", "none of the 2 words"),
        ("hill nan 1\n", "is not a vector"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read_vectors(path, ("hill", "sea"), 0)
    assert len(caught.value.problems) == 1


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vectors: .*No such file"):
        read_vectors(tmp_path / "gone.txt", ("hill",), 0)
