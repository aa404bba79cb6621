"""Owns how a comparison is shown: the table of the terminal, and the page.

The figure of a comparison: how well a model predicts, against its size and its training.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvdcore.files.atomic import writing
from hvdcore.run.pages import Column
from hvdcore.run.report import Section, SideBySide, Table, write_page
from textgen.evaluation.quality.page import (
    FIGURES,
    judgement_table,
    judgement_text,
    settings_section,
    side_by_side,
)
from textgen.evaluation.quality.scores import HUMAN

__all__ = [
    "comparison_table",
    "draw_comparison",
    "set_name",
    "write_comparison_page",
]

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


_COSTS = (
    ("num_parameters", "parameters"),
    ("training_seconds", "seconds of training"),
)

_WIDE = 10
"""Costs that differ by more are drawn on a logarithmic axis."""


def draw_comparison(path: Path, models: Mapping[str, Mapping[str, Any]]) -> Path:
    """Bits per byte over parameters, and over seconds of training for those that tell them.

    A model has the same colour in both.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

    shown = [cost for cost in _COSTS if any(model[cost[0]] for model in models.values())]
    figure = Figure(figsize=(4.2 * len(shown) + 1.6, 3.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (name, title) in zip(panels, shown, strict=True):
        for number, (label, model) in enumerate(models.items()):
            if model[name]:
                axes.plot(
                    model[name], model["bits_per_byte"], "o", color=f"C{number % 10}", label=label
                )
        known = [model[name] for model in models.values() if model[name]]
        if max(known) > _WIDE * min(known):
            axes.set(xlabel=f"{title} (logarithmic)", xscale="log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set(xlabel=title)
            axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.margins(x=0.2, y=0.15)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set(ylabel="bits per byte")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    return path
