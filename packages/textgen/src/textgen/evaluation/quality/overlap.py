"""Owns what continuations have in common with the true ones: BLEU and ROUGE."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from textgen.evaluation.quality.bootstrap import Chosen

__all__ = ["ROUGE_SETTINGS", "Bleu", "rouge"]

ROUGE_SETTINGS = "F1 of each text and their mean, lower case, no stemmer"
ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")


class Bleu:
    """Corpus BLEU (Papineni et al. 2002) of any choice of prompts, as `sacrebleu` computes it.

    Args:
        texts, references: [n] each.
    """

    def __init__(self, texts: Sequence[str], references: Sequence[str]) -> None:
        from sacrebleu.metrics import BLEU

        self._metric = BLEU()
        scores = [
            self._metric.corpus_score([text], [[reference]])
            for text, reference in zip(texts, references, strict=True)
        ]
        # Matches and n-grams of each order, then both lengths: [n, 4 + 4 + 2].
        self._counts = np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores])

    @property
    def signature(self) -> str:
        """sacrebleu's statement of its settings and version."""
        return str(self._metric.get_signature())

    def __call__(self, chosen: Chosen) -> float:
        """0 to 100."""
        counts = [int(count) for count in self._counts[chosen].sum(axis=0)]
        score = self._metric.compute_bleu(
            counts[:4], counts[4:8], counts[8], counts[9], smooth_method=self._metric.smooth_method
        )
        return float(score.score)


class _UnicodeWords:
    """rouge-score's own tokenizer knows no letter but a to z."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())


def rouge(texts: Sequence[str], references: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """F1 of ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004) of each text, [n] each, 0 to 1."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGE_TYPES), tokenizer=_UnicodeWords())
    scores = [
        scorer.score(reference, text) for text, reference in zip(texts, references, strict=True)
    ]
    return {name: np.array([score[name].fmeasure for score in scores]) for name in ROUGE_TYPES}
