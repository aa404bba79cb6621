"""Owns the figures of a judgement: what is measured of a set of texts, each with its interval."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.metrics.metrics import bits_per_byte, perplexity
from textgen.evaluation.quality.bootstrap import Chosen, Figure, Statistic, estimate, resamples
from textgen.evaluation.quality.mauve import SCALING, Mauve, num_clusters
from textgen.evaluation.quality.overlap import ROUGE_SETTINGS, Bleu, rouge
from textgen.evaluation.quality.scorer import Scored
from textgen.evaluation.quality.text_metrics import Distinct, repetition, self_bleu

__all__ = ["HUMAN", "NUM_RESAMPLES", "figures_of", "has_mauve", "settings"]

HUMAN = "human"
"""The row of the true continuations."""

NUM_RESAMPLES = 1000

_UNIT, _HUNDRED, _ANY = (0.0, 1.0), (0.0, 100.0), (0.0, math.inf)


def figures_of(
    texts: Sequence[str],
    human: Sequence[str],
    scored: Sequence[Scored],
    human_scored: Sequence[Scored],
    seed: int,
) -> dict[str, Figure]:
    """Every figure of the texts, one text for each prompt, against the true continuations.

    Args:
        texts, human: [num_prompts].
        scored, human_scored: of both under the scorer.
        seed: of the resamples, the same prompts for all sets of texts, and of MAUVE's clusters.
    """
    samples = resamples(len(texts), NUM_RESAMPLES, seed)
    found: dict[str, Figure] = {}

    def add(name: str, statistic: Statistic, bounds: tuple[float, float]) -> None:
        found[name] = estimate(statistic, samples, bounds)

    if has_mauve():
        features = (np.array([one.feature for one in part]) for part in (human_scored, scored))
        add("mauve", Mauve(*features, seed=seed), _UNIT)
    add("bleu", Bleu(texts, human), _HUNDRED)
    for name, values in rouge(texts, human).items():
        add(name, _mean(values), _UNIT)
    for n in (1, 2, 3):
        add(f"distinct_{n}", Distinct(texts, n), _UNIT)
    add("self_bleu", _mean(self_bleu(texts)), _HUNDRED)
    add("repetition_4", _mean(repetition(texts, 4)), _UNIT)
    add("num_words", _mean(np.array([float(len(text.split())) for text in texts])), _ANY)
    add("scorer_perplexity", _ratio(perplexity, scored, "num_tokens"), _ANY)
    add("scorer_bits_per_byte", _ratio(bits_per_byte, scored, "num_bytes"), _ANY)
    return found


def has_mauve() -> bool:
    """Whether what MAUVE needs is installed (the extra `mauve`)."""
    return importlib.util.find_spec("sklearn") is not None


def settings(num_prompts: int) -> dict[str, Any]:
    """How the figures were computed, for whoever compares them with others'."""
    return {
        "words": "what white space separates, as written",
        "bleu": Bleu(["a"], ["a"]).signature,
        "rouge": f"rouge-score {version('rouge-score')}, {ROUGE_SETTINGS}",
        "distinct": "distinct n-grams of words over all, in all texts together",
        "self_bleu": "mean sentence BLEU of each text with all others as references, sacrebleu",
        "repetition_4": "seq-rep-4: share of a text's 4-grams of words that stood in it before",
        "mauve": "last hidden state of the scorer at the end of prompt and text, k-means of "
        f"{num_clusters(num_prompts)} clusters, c = {SCALING:g}" if has_mauve() else None,
        "intervals": f"95 %, bootstrap over prompts, {NUM_RESAMPLES} resamples",
    }  # fmt: skip


def _mean(values: npt.NDArray[np.float64]) -> Statistic:
    return lambda chosen: float(values[chosen].mean())


def _ratio(
    figure: Callable[[float, float], float], scored: Sequence[Scored], denominator: str
) -> Statistic:
    """Sums are divided, never means averaged; not a number where there is nothing to divide by."""
    nll = np.array([one.nll for one in scored])
    counts = np.array([float(getattr(one, denominator)) for one in scored])

    def statistic(chosen: Chosen) -> float:
        count = counts[chosen].sum()
        return figure(float(nll[chosen].sum()), float(count)) if count else math.nan

    return statistic
