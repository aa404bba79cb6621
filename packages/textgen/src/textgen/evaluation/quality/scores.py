"""The metrics of sets of texts after the same prompts, the human ones included."""

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
from textgen.evaluation.quality.continuations import BATCH, num_batches, run_tasks
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
    from textgen.pretrained.load import LoadedModel

__all__ = [
    "HUMAN",
    "NUM_RESAMPLES",
    "compare_texts",
    "figures_of",
    "has_mauve",
    "settings",
]

HUMAN = "human"
"""Name of the true continuations among the sets of texts."""

NUM_RESAMPLES = 1000

_UNIT, _HUNDRED, _ANY = (0.0, 1.0), (0.0, 100.0), (0.0, math.inf)


def figures_of(
    texts: Sequence[str],
    human: Sequence[str],
    scored: Sequence[Scored],
    human_scored: Sequence[Scored],
    seed: int,
) -> dict[str, Figure]:
    """All metrics of the texts, one text per prompt, against the true continuations.

    Args:
        texts, human: [num_prompts].
        scored, human_scored: likelihood and features of both, by the scorer.
        seed: of the bootstrap, with the same resamples for all sets of texts, and of MAUVE.
    """
    samples = resamples(len(texts), NUM_RESAMPLES, seed)
    found: dict[str, Figure] = {}

    def add(name: str, statistic: Statistic, bounds: tuple[float, float]) -> None:
        found[name] = estimate(statistic, samples, bounds)

    if has_mauve():
        features = (np.array([one.feature for one in some]) for some in (human_scored, scored))
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
    """Whether scikit-learn, which MAUVE needs, is installed (the extra `mauve`)."""
    return importlib.util.find_spec("sklearn") is not None


def settings(num_prompts: int) -> dict[str, Any]:
    """How the metrics were computed, for comparisons with others."""
    return {
        "words": "separated by white space, case and punctuation kept",
        "bleu": Bleu(["a"], ["a"]).signature,
        "rouge": f"rouge-score {version('rouge-score')}, {ROUGE_SETTINGS}",
        "distinct": "distinct n-grams of words divided by all, in all texts together",
        "self_bleu": "mean sentence BLEU of each text with all others as references, sacrebleu",
        "repetition_4": "seq-rep-4: share of a text's 4-grams of words that occurred in it before",
        "mauve": "last hidden state of the scorer at the end of prompt and text, k-means of "
        f"{num_clusters(num_prompts)} clusters, c = {SCALING:g}" if has_mauve() else None,
        "intervals": f"95 %, bootstrap over prompts, {NUM_RESAMPLES} resamples",
    }  # fmt: skip


def _mean(values: npt.NDArray[np.float64]) -> Statistic:
    return lambda chosen: float(values[chosen].mean())


def _ratio(
    figure: Callable[[float, float], float], scored: Sequence[Scored], denominator: str
) -> Statistic:
    """A ratio of sums, not a mean of ratios; NaN where the denominator is 0."""
    nll = np.array([one.nll for one in scored])
    counts = np.array([float(getattr(one, denominator)) for one in scored])

    def statistic(chosen: Chosen) -> float:
        count = counts[chosen].sum()
        return figure(float(nll[chosen].sum()), float(count)) if count else math.nan

    return statistic


def compare_texts(
    scorer: LoadedModel,
    prompts: Sequence[Prompt],
    texts: Mapping[str, Sequence[str]],
    *,
    seed: int,
    world: World,
) -> dict[str, dict[str, Any]]:
    """The metrics of each set of texts, the human one first. Every rank must call, with all
    texts; all get the same.

    Args:
        scorer: the fixed model that scores the texts.
        texts: [num_prompts] of each set, by name.
    """
    sets = {HUMAN: [prompt.human for prompt in prompts], **texts}
    names = list(sets)
    scored = _score(scorer, prompts, sets, world)

    def work(task: int) -> list[dict[str, Any]]:
        name = names[task]
        figures = figures_of(sets[name], sets[HUMAN], scored[name], scored[HUMAN], seed)
        return [{figure: value.to_json() for figure, value in figures.items()}]

    return dict(zip(names, run_tasks(world, len(names), work, "metrics"), strict=True))


def _score(
    scorer: LoadedModel,
    prompts: Sequence[Prompt],
    sets: Mapping[str, Sequence[str]],
    world: World,
) -> dict[str, list[Scored]]:
    """Likelihood and features of each text by the scorer, computed on all ranks."""
    pairs = [
        (prompt.text, text)
        for own in sets.values()
        for prompt, text in zip(prompts, own, strict=True)
    ]

    def work(task: int) -> list[tuple[Any, ...]]:
        some = pairs[task * BATCH : (task + 1) * BATCH]
        return [astuple(score_text(scorer, prompt, text)) for prompt, text in some]

    scored = [Scored(*one) for one in run_tasks(world, num_batches(len(pairs)), work, "score")]
    size = len(prompts)
    return {name: scored[i * size : (i + 1) * size] for i, name in enumerate(sets)}
