"""Owns how a judgement is shown: tables for people, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hvdcore.run.report import Table

__all__ = ["FIGURES", "Shown", "judgement_table"]


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
