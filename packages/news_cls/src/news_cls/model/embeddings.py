"""What word vectors start with: the train texts' own statistics, a file, or random numbers.

From the texts: positive pointwise mutual information of words within a window, and its truncated
singular value decomposition (Levy & Goldberg 2014, "Neural Word Embedding as Implicit Matrix
Factorization"), in seconds, with scikit-learn.

Word vectors out of text files: GloVe's, and fastText's with its line of sizes before.

One set of starting word vectors for all ranks: rank 0 makes them, the others take its.
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
from news_cls.config import TrainConfig
from news_cls.data.dataset import Ragged, TextData, train_part

__all__ = [
    "SPREAD",
    "ppmi_vectors",
    "random_vectors",
    "read_vectors",
    "start_vectors",
]

Vectors = npt.NDArray[np.float32]

SPREAD = 0.1
"""Standard deviation of the numbers of the vectors that training starts with."""
WINDOW = 8
"""Words to either side that count as neighbours."""
_SMOOTHING = 0.75
"""Power of the counts of contexts, which tames the rare ones (Levy et al. 2015)."""
_FIRST_WORD = 2
"""Ids below are padding and unknown."""


def random_vectors(vocab_size: int, dim: int, seed: int) -> Vectors:
    """Normal numbers, float32 [vocab_size, dim]; zeros for padding."""
    found = np.random.default_rng(seed).normal(0.0, SPREAD, (vocab_size, dim)).astype(np.float32)
    found[0] = 0.0
    return found


def ppmi_vectors(ids: Ragged, vocab_size: int, dim: int, seed: int) -> Vectors:
    """Vectors of words that stand near the same words, float32 [vocab_size, dim].

    Words that are too rare for it, and all of them where there are fewer words than `dim`, start
    at random.

    Args:
        ids: of the train texts.
    """
    vectors = random_vectors(vocab_size, dim, seed)
    information = _information(_neighbours(ids, vocab_size))
    if min(information.shape) <= dim or not information.nnz:
        return vectors
    from sklearn.utils.extmath import randomized_svd

    left, strength, _ = randomized_svd(information, dim, n_iter=3, random_state=0)
    found = (left * np.sqrt(strength)).astype(np.float32)
    known = np.flatnonzero(np.diff(information.indptr))
    vectors[known] = found[known] * (SPREAD / found[known].std())
    return vectors


def _neighbours(ids: Ragged, vocab_size: int):  # type: ignore[no-untyped-def]
    """How often two words stand within the window: sparse, symmetric [vocabulary, vocabulary]."""
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
    """Positive pointwise mutual information of what was counted."""
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


def start_vectors(config: TrainConfig, data: TextData, world: World) -> npt.NDArray[np.float32]:
    """As the configuration has it, float32 [vocabulary, E], the same on every rank. Every rank
    must call.

    Raises:
        UserError: a file that is none of vectors.
    """
    beat("prepare")
    made = _made(config, data) if world.is_root else None
    dim = int(broadcast_object("" if made is None else str(made.shape[1])))
    if made is None:
        made = np.zeros((data.vocab_size, dim), dtype=np.float32)
    # Only rank 0 has anything but zeros, so the sum is exact.
    return allreduce_sum(made)


def _made(config: TrainConfig, data: TextData) -> npt.NDArray[np.float32]:
    if config.vectors == "random":
        return random_vectors(data.vocab_size, config.embed_dim, config.seed)
    if config.vectors == "ppmi":
        ids = train_part(config, data).ids
        return ppmi_vectors(ids, data.vocab_size, config.embed_dim, config.seed)
    return read_vectors(Path(config.vectors), data.words, config.seed)
