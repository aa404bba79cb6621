"""Owns the figures of several sets of texts after the same prompts, the human one among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from textgen.evaluation.quality.prompts import Prompt
from textgen.evaluation.quality.scorer import Scored, score_text
from textgen.evaluation.quality.scores import HUMAN, figures_of
from textgen.evaluation.quality.shared_work import BATCH, num_batches, shared_work

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.pretrained.load import OpenedModel

__all__ = ["judge_texts"]


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
