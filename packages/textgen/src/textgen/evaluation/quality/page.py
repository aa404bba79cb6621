"""Owns how a judgement is shown on a page: its figures, and the texts side by side.

Owns how a judgement is shown: tables for people, side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hvdcore.run.report import Section, SideBySide, Table

__all__ = [
    "FIGURES",
    "FILE",
    "Shown",
    "judgement_sections",
    "judgement_table",
    "judgement_text",
    "settings_section",
    "side_by_side",
]


class Shown(NamedTuple):
    """How one figure is told: its title and its number form."""

    name: str
    title: str
    form: str

    def cell(self, figures: Mapping[str, Mapping[str, Any]], *, interval: bool = False) -> str:
        """The figure as text, - where there is none."""
        figure = figures.get(self.name)
        if figure is None or figure["value"] is None:
            return "-"
        value, low, high = (self.form.format(figure[end]) for end in ("value", "low", "high"))
        return f"{value} [{low}, {high}]" if interval and low != high else value


FIGURES = (
    Shown("mauve", "MAUVE", "{:.3f}"),
    Shown("bleu", "BLEU", "{:.2f}"),
    Shown("rouge1", "ROUGE-1", "{:.3f}"),
    Shown("rouge2", "ROUGE-2", "{:.3f}"),
    Shown("rougeL", "ROUGE-L", "{:.3f}"),
    Shown("distinct_1", "distinct-1", "{:.3f}"),
    Shown("distinct_2", "distinct-2", "{:.3f}"),
    Shown("distinct_3", "distinct-3", "{:.3f}"),
    Shown("self_bleu", "self-BLEU", "{:.2f}"),
    Shown("repetition_4", "repeated 4-grams", "{:.3f}"),
    Shown("num_words", "words", "{:.1f}"),
    Shown("scorer_perplexity", "perplexity, scorer", "{:.2f}"),
    Shown("scorer_bits_per_byte", "bits per byte, scorer", "{:.3f}"),
)


def judgement_table(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """A row for each figure and a column for each set of texts, with the intervals.

    Args:
        rows: figures as JSON (`value`, `low`, `high`) by name, by set of texts.
    """
    return Table(
        ["", *rows],
        [
            [
                shown.title,
                *(shown.cell(figures, interval=True) for figures in rows.values()),
            ]
            for shown in FIGURES
            if any(shown.name in figures for figures in rows.values())
        ],
    )


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
