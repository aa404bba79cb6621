"""``textgen compare MODEL...``: scores, generated text and costs, as a table, JSON and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hvdcore.torch
from hvdcore.errors import UserError
from hvdcore.files.atomic import writing
from hvdcore.files.json_files import write_json_atomically
from hvdcore.run.report import print_table
from hvdcore.run.run_dir import default_run_dir
from hvdcore.run.splits import check_split_names
from hvdcore.torch import barrier, broadcast_object
from hvdcore.torch.hardware import pick_device
from hvdcore.tracking.logs import setup_logging
from textgen.evaluation.compare.candidates import Candidate, find_candidates, reference_config
from textgen.evaluation.compare.page import (
    comparison_table,
    draw_comparison,
    set_name,
    write_comparison_page,
)
from textgen.evaluation.quality.continuations import write_continuations
from textgen.evaluation.quality.prompts import held_out_prompts
from textgen.evaluation.quality.run import open_scorer, quality_json, warn_without_mauve
from textgen.evaluation.quality.scores import compare_texts

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.evaluation.quality.config import QualityConfig
    from textgen.evaluation.quality.prompts import Prompt

__all__ = ["compare_models"]


def compare_models(
    names: Sequence[str],
    output_dir: Path | None,
    split: str,
    stride: int | None,
    flags: Mapping[str, Any],
    quality: QualityConfig,
    scorer: str | None,
) -> int:
    """Score all models, and their generated text, on the same books. Every rank must call.

    Args:
        names: runs, folders with a model, or hub ids.
        output_dir: gets comparison.json, figures/ and report.html; None is runs/compare/...
        split: val or test.
        flags: fields of `TrainConfig`, None where not given; the data is that of the first run.
        scorer: the model that scores the texts; None for the one with the fewest bits per byte.

    Raises:
        UserError: before the work, if a model, the data or output_dir cannot be used.
    """
    world = hvdcore.torch.init()
    setup_logging(world, None)
    check_split_names([split])
    device = pick_device(world)
    candidates = find_candidates(names, flags, stride, world, device)
    judge = None if scorer is None else open_scorer(scorer, world, device)
    config = reference_config([candidate.source for candidate in candidates], flags)
    _, prompts = held_out_prompts(config, [split], quality, world)
    folder = _folder(output_dir, world)
    warn_without_mauve(world)
    models: dict[str, dict[str, Any]] = {}
    texts: dict[str, list[str]] = {}
    for candidate in candidates:
        models[candidate.label], written = _examine(
            candidate, stride, split, prompts, quality, world
        )
        texts |= written
    if judge is None:
        best = min(candidates, key=lambda one: models[one.label]["bits_per_byte"])
        judge = best.open(stride, device).opened
    figures = compare_texts(judge, prompts, texts, seed=quality.seed, world=world)
    if world.is_root:
        name = judge.source.name + (", the best of them in bits per byte" if scorer is None else "")
        comparison = {
            **quality_json(quality, split, name, prompts, texts, figures),
            "data": config.data,
            "decodings": [decoding.name for decoding in quality.decodings],
            "models": models,
        }
        _write(folder, comparison)
    barrier()
    return 0


def _examine(
    candidate: Candidate,
    stride: int | None,
    split: str,
    prompts: Sequence[Prompt],
    quality: QualityConfig,
    world: World,
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The scores and costs of one model, and its texts by the names of their sets."""
    scoring = candidate.open(stride, pick_device(world))
    scores = scoring.score([split], world)
    texts = write_continuations(
        scoring.opened, prompts, quality.decodings, num_words=quality.continuation_words,
        seed=quality.seed, world=world, description=f"generate {candidate.label}",
    )  # fmt: skip
    facts = {
        "name": candidate.source.name,
        "num_parameters": scoring.opened.model.num_parameters,
        **candidate.costs(),
        **scores[split],
    }
    return facts, {set_name(candidate.label, name): own for name, own in texts.items()}


def _folder(output_dir: Path | None, world: World) -> Path:
    """Create the folder on rank 0, as a check before the work. Every rank must call."""
    folder = output_dir or default_run_dir("textgen", "runs/compare")
    if world.is_root:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if (folder / "config.json").exists():
            raise UserError(f"output_dir: {folder} holds a run; give another --output-dir")
    return Path(broadcast_object(str(folder)))


def _write(folder: Path, comparison: Mapping[str, Any]) -> None:
    write_json_atomically(folder / "comparison.json", comparison)
    figure = draw_comparison(folder / "figures" / "comparison.png", comparison["models"])
    write_comparison_page(folder / "report.html", comparison, figure)
    print_table(comparison_table(comparison))
    print(folder / "report.html", flush=True)
