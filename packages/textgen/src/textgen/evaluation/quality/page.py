"""Owns how a judgement is shown on a page: its figures, and the texts side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hvdcore.run.report import Section, SideBySide
from textgen.evaluation.quality.table import judgement_table

__all__ = ["FILE", "judgement_sections", "judgement_text", "settings_section", "side_by_side"]

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
        settings_section(judgement),
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
    return (
        f"{judgement['num_prompts']} prompts of {judgement['prompt_words']} words, cut from the "
        f"{judgement['split']} part by seed {judgement['seed']}, each gone on with for "
        f"{judgement['continuation_words']} words. The human column is how the books go on; it is "
        "its own reference, so its MAUVE, BLEU and ROUGE are the largest there are. What matters "
        "in the others is to be close to it, not to be high or low. MAUVE is made for thousands of "
        "texts and a strong scorer; with less it sees large differences alone. The scorer is "
        f"{judgement['scorer']}. In brackets: {judgement['settings']['intervals']}."
    )


def settings_section(judgement: Mapping[str, Any]) -> Section:
    """How each figure is computed, folded."""
    told = [f"{name}: {how or 'left out'}" for name, how in judgement["settings"].items()]
    return Section("How the figures are computed", verbatim="\n".join(told), folded=True)
