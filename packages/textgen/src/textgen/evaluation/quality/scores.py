"""Owns the figures of a judgement: what is measured of a set of texts, each with its interval.

Owns the figures of several sets of texts after the same prompts, the human one among them.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hvdcore.metrics.metrics import bits_per_byte, perplexity
from textgen.evaluation.quality.continuations import BATCH, num_batches, shared_work
from textgen.evaluation.quality.mauve import SCALING, Mauve, num_clusters
from textgen.evaluation.quality.prompts import Prompt
from textgen.evaluation.quality.scorer import Scored, score_text
from textgen.evaluation.quality.text_metrics import (
    ROUGE_SETTINGS,
    Bleu,
    Chosen,
    Distinct,
    Figure,
    Statistic,
    estimate,
    repetition,
    resamples,
    rouge,
    self_bleu,
)

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.pretrained.load import OpenedModel

__all__ = [
    "HUMAN",
    "NUM_RESAMPLES",
    "figures_of",
    "has_mauve",
    "judge_texts",
    "settings",
]

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


def judge_texts(
    scorer: OpenedModel,
    prompts: Sequence[Prompt],
    texts: Mapping[str, Sequence[str]],
    *,
    seed: int,
    world: World,
) -> dict[str, dict[str, Any]]:
    """The figures of each set of texts, the human one first. Every rank must call, with all
    texts; all get the same.

    Args:
        scorer: the fixed model that judges.
        texts: [num_prompts] of each set, by name.
    """
    sets = {HUMAN: [prompt.human for prompt in prompts], **texts}
    names = list(sets)
    scored = _score(scorer, prompts, sets, world)

    def work(piece: int) -> list[dict[str, Any]]:
        name = names[piece]
        figures = figures_of(sets[name], sets[HUMAN], scored[name], scored[HUMAN], seed)
        return [{figure: value.to_json() for figure, value in figures.items()}]

    return dict(zip(names, shared_work(world, len(names), work, "figures"), strict=True))


def _score(
    scorer: OpenedModel,
    prompts: Sequence[Prompt],
    sets: Mapping[str, Sequence[str]],
    world: World,
) -> dict[str, list[Scored]]:
    """Each text under the scorer, on all ranks."""
    pairs = [
        (prompt.text, text)
        for part in sets.values()
        for prompt, text in zip(prompts, part, strict=True)
    ]

    def work(piece: int) -> list[tuple[Any, ...]]:
        some = pairs[piece * BATCH : (piece + 1) * BATCH]
        return [astuple(score_text(scorer, prompt, text)) for prompt, text in some]

    scored = [Scored(*one) for one in shared_work(world, num_batches(len(pairs)), work, "judge")]
    size = len(prompts)
    return {name: scored[i * size : (i + 1) * size] for i, name in enumerate(sets)}
