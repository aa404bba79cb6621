"""How the quality of texts is shown on a page: tables, explanations, and texts side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hvdcore.run.report import Section, SideBySide, Table

__all__ = [
    "FIGURES",
    "FILE",
    "MetricColumn",
    "quality_sections",
    "quality_table",
    "quality_text",
    "settings_section",
    "side_by_side",
]

FILE = "generation.json"
"""Where the quality of generated text is saved in the run directory."""

_MAX_PROMPTS = 12
"""Prompts on a page; all of them are in the JSON file."""


class MetricColumn(NamedTuple):
    """How one metric is shown: its title and number format."""

    name: str
    title: str
    form: str

    def cell(self, figures: Mapping[str, Mapping[str, Any]], *, interval: bool = False) -> str:
        """The value as text, - where there is none."""
        figure = figures.get(self.name)
        if figure is None or figure["value"] is None:
            return "-"
        value, low, high = (self.form.format(figure[end]) for end in ("value", "low", "high"))
        return f"{value} [{low}, {high}]" if interval and low != high else value


FIGURES = (
    MetricColumn("mauve", "MAUVE", "{:.3f}"),
    MetricColumn("bleu", "BLEU", "{:.2f}"),
    MetricColumn("rouge1", "ROUGE-1", "{:.3f}"),
    MetricColumn("rouge2", "ROUGE-2", "{:.3f}"),
    MetricColumn("rougeL", "ROUGE-L", "{:.3f}"),
    MetricColumn("distinct_1", "distinct-1", "{:.3f}"),
    MetricColumn("distinct_2", "distinct-2", "{:.3f}"),
    MetricColumn("distinct_3", "distinct-3", "{:.3f}"),
    MetricColumn("self_bleu", "self-BLEU", "{:.2f}"),
    MetricColumn("repetition_4", "repeated 4-grams", "{:.3f}"),
    MetricColumn("num_words", "words", "{:.1f}"),
    MetricColumn("scorer_perplexity", "perplexity, scorer", "{:.2f}"),
    MetricColumn("scorer_bits_per_byte", "bits per byte, scorer", "{:.3f}"),
)


def quality_table(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """One row per metric and one column per set of texts, with the intervals.

    Args:
        rows: metrics as JSON (`value`, `low`, `high`) by name, by set of texts.
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


def quality_sections(quality: Mapping[str, Any], suffix: str = "") -> list[Section]:
    """The sections about the texts of one model.

    Args:
        suffix: of the titles, to name the model where there are several.
    """
    return [
        Section(
            f"Quality of generated text{suffix}",
            quality_text(quality),
            table=quality_table(quality["figures"]),
        ),
        settings_section(quality),
        Section(
            f"Continuations{suffix}",
            texts=side_by_side(quality, {name: name for name in quality["figures"]}),
        ),
    ]


def side_by_side(quality: Mapping[str, Any], names: Mapping[str, str]) -> SideBySide:
    """The texts after each prompt, in columns.

    Args:
        names: set of texts by title of the column.
    """
    return SideBySide(
        list(names),
        [
            (one["prompt"], [one["texts"][name].strip() for name in names.values()])
            for one in quality["prompts"][:_MAX_PROMPTS]
        ],
    )


def quality_text(quality: Mapping[str, Any]) -> str:
    """How to read the metrics."""
    return (
        f"{quality['num_prompts']} prompts of {quality['prompt_words']} words from the "
        f"{quality['split']} split, chosen by seed {quality['seed']}, each continued for "
        f"{quality['continuation_words']} words. The human column is the original text; it is its "
        "own reference, so its MAUVE, BLEU and ROUGE are the highest possible. A model's text is "
        "good where it is close to the human column, not where a value is high or low. MAUVE is "
        "designed for thousands of texts and a strong scorer; with fewer it shows only large "
        "differences. The scorer is "
        f"{quality['scorer']}. In brackets: {quality['settings']['intervals']}."
    )


def settings_section(quality: Mapping[str, Any]) -> Section:
    """How each metric is computed, folded."""
    lines = [f"{name}: {how or 'not computed'}" for name, how in quality["settings"].items()]
    return Section("How the metrics are computed", verbatim="\n".join(lines), folded=True)
