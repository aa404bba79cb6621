"""Owns how varied texts are: distinct-n, repetition within a text, likeness among texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from textgen.evaluation.quality.bootstrap import Chosen
from textgen.evaluation.quality.words import ngrams

__all__ = ["Distinct", "repetition", "self_bleu"]


class Distinct:
    """Distinct n-grams of words over all of them, in all chosen texts together (Li et al. 2016).

    A text that is chosen twice counts once, or resamples would seem to repeat themselves.

    Args:
        texts: [num_prompts].
    """

    def __init__(self, texts: Sequence[str], n: int) -> None:
        known: dict[tuple[str, ...], int] = {}
        rows = [[known.setdefault(g, len(known)) for g in ngrams(t.split(), n)] for t in texts]
        self._grams = np.array([gram for row in rows for gram in row], dtype=np.int64)
        self._num_texts = len(rows)
        self._text_of_gram = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        self._num_known = len(known)

    def __call__(self, chosen: Chosen) -> float:
        """0 to 1; 0 when no text has n words."""
        is_chosen = np.zeros(self._num_texts, dtype=bool)
        is_chosen[chosen] = True
        grams = self._grams[is_chosen[self._text_of_gram]]
        if not len(grams):
            return 0.0
        seen = np.zeros(self._num_known, dtype=bool)
        seen[grams] = True
        return float(seen.sum() / len(grams))


def repetition(texts: Sequence[str], n: int = 4) -> npt.NDArray[np.float64]:
    """seq-rep-n of each text, [num_prompts]: the share of its n-grams that stood in it before
    (Welleck et al. 2020, section 4), over words. 0 for a text without n words."""
    shares = []
    for text in texts:
        grams = ngrams(text.split(), n)
        shares.append(1 - len(set(grams)) / len(grams) if grams else 0.0)
    return np.array(shares)


def self_bleu(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Self-BLEU of each text, [num_prompts], 0 to 100: its sentence BLEU with all the others as
    references (Zhu et al. 2018). High means that the texts are alike.

    Needs two texts; the time grows with the square of their number.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)
    return np.array(
        [
            metric.sentence_score(text, [*texts[:number], *texts[number + 1 :]]).score
            for number, text in enumerate(texts)
        ]
    )
