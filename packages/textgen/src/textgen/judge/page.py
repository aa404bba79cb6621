"""Owns how a judgement is shown on a page: its figures, and the texts side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hvdcore.report import Section, SideBySide
from textgen.judge.table import judgement_table

__all__ = ["FILE", "judgement_sections", "judgement_text", "side_by_side"]

FILE = "generation.json"
"""What a judgement leaves in the run directory."""

_SHOWN = 12
"""Prompts on a page; all of them are in the JSON file."""


def judgement_sections(judgement: Mapping[str, Any], suffix: str = "") -> list[Section]:
    """The figures and the texts of one judgement.

    Args:
        suffix: what the titles say of the model, where there are several.
    """
    return [
        Section(
            f"Judgement of the text{suffix}",
            judgement_text(judgement),
            table=judgement_table(judgement["figures"]),
        ),
        Section(
            f"Continuations{suffix}",
            texts=side_by_side(judgement, {name: name for name in judgement["figures"]}),
        ),
    ]


def side_by_side(judgement: Mapping[str, Any], names: Mapping[str, str]) -> SideBySide:
    """Texts below each prompt, in columns.

    Args:
        names: the set of texts that each column shows, by the column's title.
    """
    return SideBySide(
        list(names),
        [
            (one["prompt"], [one["texts"][name].strip() for name in names.values()])
            for one in judgement["prompts"][:_SHOWN]
        ],
    )


def judgement_text(judgement: Mapping[str, Any]) -> str:
    """What a reader has to know about the figures."""
    how = judgement["settings"]
    mauve = how["mauve"] or "left out, scikit-learn is not installed"
    return (
        f"{judgement['num_prompts']} prompts of {judgement['prompt_words']} words, cut from the "
        f"{judgement['split']} part by seed {judgement['seed']}, each gone on with for "
        f"{judgement['continuation_words']} words. The human column is how the books go on; it is "
        "its own reference, so its MAUVE, BLEU and ROUGE are the largest there are. What matters "
        "in the other rows is to be close to it, not to be high or low. "
        f"Words are {how['words']}. BLEU: {how['bleu']}. ROUGE: {how['rouge']}. "
        f"distinct-n: {how['distinct']}. self-BLEU: {how['self_bleu']}. Repeated 4-grams: "
        f"{how['repetition_4']}. MAUVE: {mauve}. The scorer is {judgement['scorer']}. "
        f"In brackets: {how['intervals']}."
    )
