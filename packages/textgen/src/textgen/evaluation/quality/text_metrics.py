"""Metrics of texts: overlap with references, diversity, repetition; bootstrap intervals."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from textgen.evaluation.quality.prompts import ngrams

__all__ = [
    "ROUGE_SETTINGS",
    "Bleu",
    "Chosen",
    "Distinct",
    "Figure",
    "Statistic",
    "estimate",
    "repetition",
    "resamples",
    "rouge",
    "self_bleu",
]

Chosen = npt.NDArray[np.int64]
"""Indices of prompts [n], possibly repeated."""

Statistic = Callable[[Chosen], float]
"""The value of a metric for some prompts."""

_LEVEL = 0.95


@dataclass(frozen=True)
class Figure:
    """The value of a metric over all prompts, and its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def resamples(num_prompts: int, num_samples: int, seed: int) -> npt.NDArray[np.int64]:
    """Prompts drawn with replacement, shape [num_samples, num_prompts]."""
    return np.random.default_rng([seed, 0xB007]).integers(
        0, num_prompts, (num_samples, num_prompts)
    )


def estimate(
    statistic: Statistic,
    samples: npt.NDArray[np.int64],
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Figure:
    """The statistic of all prompts with its bootstrap interval (Efron and Tibshirani 1993, ch. 13).

    A percentile interval, shifted so that the mean of the resamples is the value. For a mean that
    changes nothing; metrics that count distinct things (distinct-n, MAUVE) are lower in a resample
    because texts are repeated in it, and the shift corrects that.

    Resamples for which the metric is NaN are ignored.

    Args:
        samples: from `resamples`.
        bounds: possible values of the metric; the interval is clipped to them.
    """
    value = statistic(np.arange(samples.shape[1]))
    found = np.array([statistic(sample) for sample in samples])
    found = found[~np.isnan(found)]
    if np.isnan(value) or not len(found):
        return Figure(np.nan, np.nan, np.nan)
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(found, [tail, 1 - tail]) + (value - found.mean())
    # With few prompts the value may be outside; rounding may exceed a bound.
    ends = [value, min(low, value), max(high, value)]
    return Figure(*np.clip(ends, *bounds).tolist())


class Distinct:
    """Distinct n-grams of words divided by all, in all chosen texts together (Li et al. 2016).

    A text that is chosen twice counts once, or resamples would seem repetitive.

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
        """0 to 1; 0 if no text has n words."""
        is_chosen = np.zeros(self._num_texts, dtype=bool)
        is_chosen[chosen] = True
        grams = self._grams[is_chosen[self._text_of_gram]]
        if not len(grams):
            return 0.0
        seen = np.zeros(self._num_known, dtype=bool)
        seen[grams] = True
        return float(seen.sum() / len(grams))


def repetition(texts: Sequence[str], n: int = 4) -> npt.NDArray[np.float64]:
    """seq-rep-n of each text, [num_prompts]: the share of its n-grams of words that occurred in it
    before (Welleck et al. 2020, section 4). 0 for a text of fewer than n words."""
    shares = []
    for text in texts:
        grams = ngrams(text.split(), n)
        shares.append(1 - len(set(grams)) / len(grams) if grams else 0.0)
    return np.array(shares)


def self_bleu(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Self-BLEU of each text, [num_prompts], 0 to 100: its sentence BLEU with all the others as
    references (Zhu et al. 2018). High means that the texts are alike.

    Needs two texts; takes time quadratic in their number.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)
    return np.array(
        [
            metric.sentence_score(text, [*texts[:number], *texts[number + 1 :]]).score
            for number, text in enumerate(texts)
        ]
    )


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
    """The tokenizer of rouge-score itself drops all letters but a to z."""

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
