"""Owns how a comparison is shown: the table of the terminal, and the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvdcore.run.pages import Column
from hvdcore.run.report import Section, SideBySide, Table, write_page
from textgen.evaluation.quality.page import judgement_text, settings_section, side_by_side
from textgen.evaluation.quality.scores import HUMAN
from textgen.evaluation.quality.table import FIGURES, judgement_table

__all__ = ["comparison_table", "set_name", "write_comparison_page"]

COLUMNS = (
    Column("bits/byte", "bits_per_byte", "{:.3f}"),
    Column("word ppl", "word_perplexity", "{:,.1f}"),
    Column("token ppl", "perplexity", "{:,.2f}"),
    Column("context", "context_length", "{:,}"),
    Column("parameters", "num_parameters", "{:,}"),
    Column("train s", "training_seconds", "{:,.0f}"),
    Column("train tok/s", "tokens_per_second", "{:,.0f}"),
)
JUDGED = ("mauve", "bleu", "rougeL", "distinct_2", "self_bleu", "repetition_4")


def set_name(label: str, decoding: str) -> str:
    """The name of the texts that a model wrote by one decoding."""
    return f"{label}, {decoding}"


def comparison_table(comparison: Mapping[str, Any]) -> Table:
    """What each model scores and costs, and its text judged, written by the last decoding, below
    the human text."""
    models, decoding = comparison["models"], comparison["decodings"][-1]
    judged = [shown for shown in FIGURES if shown.name in JUDGED]
    rows = {
        label: (models.get(label, {}), figures)
        for label, figures in _columns(comparison, decoding).items()
    }
    return Table(
        ["model", *(column.title for column in COLUMNS), *(shown.title for shown in judged)],
        [
            [
                label,
                *(column.cell(model) for column in COLUMNS),
                *(shown.cell(figures) for shown in judged),
            ]
            for label, (model, figures) in rows.items()
        ],
    )


def write_comparison_page(path: Path, comparison: Mapping[str, Any], figure: Path) -> None:
    """Write the page about the models.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    *others, main = comparison["decodings"]
    sections = [
        Section("Models", _text(comparison), table=_model_table(comparison)),
        Section("Quality against cost", figure=figure),
        Section(
            f"Judgement of the text, {main}",
            judgement_text(comparison),
            table=judgement_table(_columns(comparison, main)),
        ),
        settings_section(comparison),
        Section(f"Continuations, {main}", texts=_texts(comparison, main)),
    ]
    for decoding in others:
        table = judgement_table(_columns(comparison, decoding))
        texts = _texts(comparison, decoding)
        sections.append(Section(f"The same by {decoding}", table=table, texts=texts, folded=True))
    title = "textgen: " + " against ".join(comparison["models"])
    write_page(
        path, title, sections, subtitle=f"{comparison['split']} part of {comparison['data']}"
    )


def _model_table(comparison: Mapping[str, Any]) -> Table:
    return Table(
        ["model", *(column.title for column in COLUMNS)],
        [
            [label, *(column.cell(model) for column in COLUMNS)]
            for label, model in comparison["models"].items()
        ],
    )


def _texts(comparison: Mapping[str, Any], decoding: str) -> SideBySide:
    names = {label: set_name(label, decoding) for label in comparison["models"]}
    return side_by_side(comparison, {HUMAN: HUMAN} | names)


def _columns(comparison: Mapping[str, Any], decoding: str) -> dict[str, Any]:
    """The figures of the human text, and of each model's by its label."""
    figures = comparison["figures"]
    return {HUMAN: figures[HUMAN]} | {
        label: figures[set_name(label, decoding)] for label in comparison["models"]
    }


def _text(comparison: Mapping[str, Any]) -> str:
    return (
        f"All models read the same {comparison['split']} part. Bits per byte and perplexity by "
        "word (ppl) can be compared across tokenizers, perplexity by token only between models of "
        "one tokenizer; lower is better. Each model has its own context, in its own tokens. "
        "Seconds and tokens a second are of a run's own training, on the ranks it had; what came "
        "before a fine-tuning, and the training of others' models, is not in them."
    )
