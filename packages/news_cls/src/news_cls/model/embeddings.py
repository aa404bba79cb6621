"""The initial word vectors: from the train texts, from a file of GloVe or fastText, or random.

From the texts: positive pointwise mutual information of words within a window, and its truncated
singular value decomposition (Levy & Goldberg 2014, "Neural Word Embedding as Implicit Matrix
Factorization"), which takes seconds with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.errors import UserError
from hvdcore.keras import allreduce_sum, broadcast_object
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger
from news_cls.config import SAMPLE_NAMES, TrainConfig
from news_cls.data.dataset import Ragged, TextData

__all__ = [
    "STANDARD_DEVIATION",
    "initial_vectors",
    "ppmi_vectors",
    "random_vectors",
    "read_vectors",
]

logger = get_logger(__name__)

Vectors = npt.NDArray[np.float32]

STANDARD_DEVIATION = 0.1
"""Of the entries of the initial vectors."""
WINDOW = 8
"""Words to either side that count as context."""
_SMOOTHING = 0.75
"""Exponent of the counts of contexts, which reduces the weight of rare ones (Levy et al. 2015)."""
_FIRST_WORD = 2
"""The ids below are padding and unknown."""
_MAX_SHOWN = 40
"""Characters of a wrong line in the error message."""


def initial_vectors(config: TrainConfig, data: TextData, world: World) -> npt.NDArray[np.float32]:
    """As configured, float32 [vocabulary, E], the same on every rank. Every rank must call.

    Raises:
        UserError: the file of vectors is wrong.
    """
    beat("prepare")
    vectors = _vectors(config, data) if world.is_root else None
    dim = int(broadcast_object("" if vectors is None else str(vectors.shape[1])))
    if vectors is None:
        vectors = np.zeros((data.vocab_size, dim), dtype=np.float32)
    # All ranks but 0 have zeros, so the sum is exact.
    return allreduce_sum(vectors)


def _vectors(config: TrainConfig, data: TextData) -> npt.NDArray[np.float32]:
    if config.vectors == "random":
        return random_vectors(data.vocab_size, config.embed_dim, config.seed)
    if config.vectors == "ppmi":
        ids = data.train_subset(config.num_train_texts, SAMPLE_NAMES).ids
        return ppmi_vectors(ids, data.vocab_size, config.embed_dim, config.seed)
    return read_vectors(Path(config.vectors), data.words, config.seed)


def random_vectors(vocab_size: int, dim: int, seed: int) -> Vectors:
    """Normally distributed vectors, float32 [vocab_size, dim]; zeros for padding."""
    draw = np.random.default_rng(seed)
    found = draw.normal(0.0, STANDARD_DEVIATION, (vocab_size, dim)).astype(np.float32)
    found[0] = 0.0
    return found


def ppmi_vectors(ids: Ragged, vocab_size: int, dim: int, seed: int) -> Vectors:
    """Vectors that are similar for words with similar contexts, float32 [vocab_size, dim].

    Words that are too rare, and all words if there are fewer than `dim`, get random vectors.

    Args:
        ids: of the train texts.
    """
    vectors = random_vectors(vocab_size, dim, seed)
    information = _information(_cooccurrences(ids, vocab_size))
    if min(information.shape) <= dim or not information.nnz:
        return vectors
    from sklearn.utils.extmath import randomized_svd

    left, strength, _ = randomized_svd(information, dim, n_iter=3, random_state=0)
    found = (left * np.sqrt(strength)).astype(np.float32)
    known = np.flatnonzero(np.diff(information.indptr))
    vectors[known] = found[known] * (STANDARD_DEVIATION / found[known].std())
    return vectors


def _cooccurrences(ids: Ragged, vocab_size: int):  # type: ignore[no-untyped-def]
    """How often two words occur within the window: sparse, symmetric [vocabulary, vocabulary]."""
    from scipy.sparse import csr_matrix

    lengths = ids.lengths
    flat = np.concatenate([ids[i] for i in range(len(ids))]) if len(ids) else np.zeros(0, np.int32)
    text = np.repeat(np.arange(len(lengths)), lengths)
    total = csr_matrix((vocab_size, vocab_size), dtype=np.float32)
    for distance in range(1, WINDOW + 1):
        first, second = flat[:-distance], flat[distance:]
        near = text[:-distance] == text[distance:]
        near &= (first >= _FIRST_WORD) & (second >= _FIRST_WORD)
        ones = np.ones(int(near.sum()), dtype=np.float32)
        total = total + csr_matrix((ones, (first[near], second[near])), shape=total.shape)
    return total + total.T


def _information(counts):  # type: ignore[no-untyped-def]
    """Positive pointwise mutual information of the counts."""
    from scipy.sparse import csr_matrix

    pairs = counts.tocoo()
    words = np.bincount(pairs.row, weights=pairs.data, minlength=counts.shape[0])
    contexts = words**_SMOOTHING
    contexts /= max(contexts.sum(), 1e-12)
    with np.errstate(divide="ignore"):
        values = np.log(pairs.data / (words[pairs.row] * contexts[pairs.col]))
    values = np.maximum(values, 0.0).astype(np.float32)
    found = csr_matrix((values, (pairs.row, pairs.col)), shape=counts.shape)
    found.eliminate_zeros()
    return found


def read_vectors(path: Path, words: Sequence[str], seed: int) -> npt.NDArray[np.float32]:
    """Vectors of the vocabulary from a file, float32 [len(words) + 2, E], scaled like random ones.

    Words that are not in the file get random vectors; the number of the others is logged.

    Args:
        words: the vocabulary, from id 2 on.

    Raises:
        UserError: no such file, a line that is not a vector, or no word of the vocabulary in it.
    """
    ids = {word: number + 2 for number, word in enumerate(words)}
    found: dict[int, npt.NDArray[np.float32]] = {}
    dim: int | None = None
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                word, _, rest = line.rstrip("\n ").partition(" ")
                if number == 1 and rest.isdigit():
                    continue  # fastText's number of words and of dimensions
                if dim is not None and word not in ids:
                    continue
                vector = _vector(path, number, rest, dim)
                dim = len(vector)
                if word in ids:
                    found[ids[word]] = vector
    except OSError as error:
        raise UserError(
            f"vectors: {path}: {error.strerror or error}; give ppmi, random or a text file"
        ) from None
    if dim is None or not found:
        raise UserError(f"vectors: {path}: none of the {len(words):,} words of the data is in it")
    logger.info("vectors: %s of %s words are in %s", f"{len(found):,}", f"{len(words):,}", path)
    vectors = random_vectors(len(words) + 2, dim, seed)
    rows = np.array(list(found.values()))
    vectors[list(found)] = rows * (STANDARD_DEVIATION / max(float(rows.std()), 1e-12))
    return vectors


def _vector(path: Path, number: int, text: str, dim: int | None) -> npt.NDArray[np.float32]:
    try:
        vector = np.array(text.split(" "), dtype=np.float32)
    except ValueError:
        vector = np.zeros(0, dtype=np.float32)
    if not len(vector) or not np.isfinite(vector).all():
        shown = text[:_MAX_SHOWN]
        raise UserError(
            f"vectors: {path} line {number}: {shown!r} is not a vector; give a word and its "
            "numbers, separated by spaces"
        )
    if dim is not None and len(vector) != dim:
        raise UserError(
            f"vectors: {path} line {number}: {len(vector)} numbers, but {dim} in the lines before"
        )
    return vector
