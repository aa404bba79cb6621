"""``report.html``: the scores, text and curves of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvdcore.files.json_files import read_json_object
from hvdcore.run import pages
from hvdcore.run.pages import (
    Column,
    Figure,
    Runs,
    configurations,
    draw_figures,
    run_table,
    score_table,
    software,
)
from hvdcore.run.rank_table import rank_sections
from hvdcore.run.report import Section, Table, write_page
from textgen.evaluation.quality.page import FILE, quality_sections

__all__ = ["report_runs", "write_report"]

FIGURES = (
    Figure("Loss", "loss", "nats per token", (("val", "loss", "val"), ("train", "loss", "train"))),
    Figure("Bits per byte on val", "bits_per_byte", "bits", (("val", "bits_per_byte", "val"),)),
    Figure("Learning rate", "learning_rate", "", (("train", "learning_rate", "train"),)),
    Figure("Gradient norm", "gradient_norm", "", (("train", "gradient_norm", "train"),)),
    Figure(
        "Speed of all ranks", "tokens_per_second", "tokens per second",
        (("train", "tokens_per_second", "train"),), from_zero=True,
    ),
    Figure(
        "Time of a step, rank 0", "step_seconds", "seconds",
        tuple(
            ("train", f"{phase}_seconds", phase)
            for phase in ("compute", "update", "communicate", "data")
        ),
        from_zero=True,
    ),
    Figure(
        "Peak memory of a rank, the largest", "peak_memory", "MB",
        (("train", "peak_memory_mb", "train"),), from_zero=True,
    ),
    Figure(
        "Model FLOP utilization", "model_flop_utilization", "share of the peak",
        (("train", "model_flop_utilization", "train"),), from_zero=True,
    ),
)  # fmt: skip
COLUMNS = (
    Column("parameters", "num_parameters", "{:,}"),
    Column("ranks", "size", "{}"),
    Column("global batch", "global_batch_size", "{}"),
    Column("steps", "steps", "{:,}"),
    Column("seconds", "seconds", "{:,.0f}"),
    Column("tokens/s", "tokens_per_second", "{:,.0f}"),
    Column("peak memory of a rank, MB", "peak_memory_mb", "{:,.0f}"),
    Column("FLOP per token, forward and backward", "train_flops_per_token", "{:,}"),
    Column("peak GFLOP/s, all ranks", "peak_flops_per_second", "{:,.1f}", 1e9),
    Column("source of the peak", "peak_flops_source", "{}"),
    Column("model FLOP utilization", "model_flop_utilization", "{:.1%}"),
    Column("seed", "seed", "{}"),
    Column("weights", "weights_sha256", "{:.12}"),
)
SCORES = (
    Column("loss", "loss", "{:.4f}"),
    Column("perplexity", "perplexity", "{:.2f}"),
    Column("bits per byte", "bits_per_byte", "{:.3f}"),
    Column("word perplexity", "word_perplexity", "{:,.6g}"),
)

_SCORES_TEXT = (
    "Loss is the mean negative log-likelihood of a token in nats, perplexity its exponential; "
    "bits per byte and perplexity per word can be compared across tokenizers. Val and test are "
    "exact over the whole split; train is an even sample of it, as large as val. Weights are "
    "chosen by val; test is scored once."
)


def report_runs(paths: Sequence[Path], output_dir: Path | None) -> Path:
    """``textgen report RUN...``; see `hvdcore.run.pages.report_runs`."""
    return pages.report_runs(paths, output_dir, write_report)


def write_report(paths: Sequence[Path], page: Path) -> None:
    """Write one page about the runs, with figures in ``figures/`` of the run or beside the page.

    Raises:
        UserError: one of the paths is not a run, its training has not finished, or the page cannot
            be written.
    """
    found = Runs.open(paths, page)
    sections = [
        Section("Scores", _SCORES_TEXT, table=score_table(found.reports, SCORES)),
        Section("Runs" if len(paths) > 1 else "Run", table=run_table(found.reports, COLUMNS)),
        *_steps(found.reports),
        *_samples(found.reports),
        *_quality(found),
        Section("Curves", figures=draw_figures(found, FIGURES)),
        *rank_sections(found),
        *configurations(found),
    ]
    title = "textgen: " + ", ".join(found.reports)
    write_page(page, title, sections, subtitle=software(found, "horovod", "torch"))


def _steps(reports: dict[str, dict[str, Any]]) -> list[Section]:
    """The time of a step by phase; no section where no run was long enough to measure it."""
    measured = {label: report["step_seconds"] for label, report in reports.items()
            if report.get("step_seconds")}  # fmt: skip
    kinds = ("compute", "update", "communicate", "data")
    rows = [
        [label, *(f"{1e3 * seconds[f'{kind}_seconds']:.2f}" for kind in kinds)]
        for label, seconds in measured.items()
    ]
    text = "Milliseconds, mean over steps and ranks, without the first steps."
    return [Section("Time of a step", text, table=Table(["run", *kinds], rows))] if rows else []


def _samples(reports: dict[str, dict[str, Any]]) -> list[Section]:
    samples = {label: report["sample"] for label, report in reports.items() if report.get("sample")}
    return [
        Section(f"Sample of {label}" if len(reports) > 1 else "Sample", verbatim=text)
        for label, text in samples.items()
    ]


def _quality(runs: Runs) -> list[Section]:
    """Sections of the runs with results of `textgen evaluate --generation`."""
    found = {label: run.path / FILE for label, run in runs.runs.items()}
    return [
        section
        for label, path in found.items()
        if path.is_file()
        for section in quality_sections(read_json_object(path), runs.suffix(label))
    ]
