"""What word vectors start with: the train texts' own statistics, a file, or random numbers.

From the texts: positive pointwise mutual information of words within a window, and its truncated
singular value decomposition (Levy & Goldberg 2014, "Neural Word Embedding as Implicit Matrix
Factorization"), in seconds, with scikit-learn.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from news_cls.data.ragged import Ragged

__all__ = ["SPREAD", "ppmi_vectors", "random_vectors"]

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
