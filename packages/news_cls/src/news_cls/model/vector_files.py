"""Word vectors out of text files: GloVe's, and fastText's with its line of sizes before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.errors import UserError
from hvdcore.tracking.logs import get_logger
from news_cls.model.embeddings import SPREAD, random_vectors

__all__ = ["read_vectors"]

logger = get_logger(__name__)

_MOST_SHOWN = 40


def read_vectors(path: Path, words: Sequence[str], seed: int) -> npt.NDArray[np.float32]:
    """Vectors of the vocabulary, float32 [len(words) + 2, E], as strong as random ones.

    Words that the file does not have start at random; how many it has is told.

    Args:
        words: the vocabulary, from id 2 on.

    Raises:
        UserError: no such file, a line that is no vector, or none of our words in it.
    """
    places = {word: number + 2 for number, word in enumerate(words)}
    found: dict[int, npt.NDArray[np.float32]] = {}
    dim: int | None = None
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                word, _, rest = line.rstrip("\n ").partition(" ")
                if number == 1 and rest.isdigit():
                    continue  # fastText's number of words and of dimensions
                if dim is not None and word not in places:
                    continue
                vector = _vector(path, number, rest, dim)
                dim = len(vector)
                if word in places:
                    found[places[word]] = vector
    except OSError as error:
        raise UserError(
            f"vectors: {path}: {error.strerror or error}; give ppmi, random or a text file"
        ) from None
    if dim is None or not found:
        raise UserError(f"vectors: {path}: none of the {len(words):,} words of the data is in it")
    logger.info("vectors: %s of %s words are in %s", f"{len(found):,}", f"{len(words):,}", path)
    vectors = random_vectors(len(words) + 2, dim, seed)
    rows = np.array(list(found.values()))
    vectors[list(found)] = rows * (SPREAD / max(float(rows.std()), 1e-12))
    return vectors


def _vector(path: Path, number: int, text: str, dim: int | None) -> npt.NDArray[np.float32]:
    try:
        vector = np.array(text.split(" "), dtype=np.float32)
    except ValueError:
        vector = np.zeros(0, dtype=np.float32)
    if not len(vector) or not np.isfinite(vector).all():
        shown = text[:_MOST_SHOWN]
        raise UserError(
            f"vectors: {path} line {number}: {shown!r} is no vector; give a word and its numbers "
            "with spaces between"
        )
    if dim is not None and len(vector) != dim:
        raise UserError(
            f"vectors: {path} line {number}: {len(vector)} numbers, but {dim} in the lines before"
        )
    return vector
