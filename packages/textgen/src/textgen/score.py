"""``textgen evaluate``: the exact score of a model on parts of a corpus, on all ranks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hvdcore.torch
from hvdcore.config import load_config
from hvdcore.errors import Problems, UserError
from hvdcore.logs import get_logger, setup_logging
from hvdcore.run_dir import RunDir
from textgen.config import TrainConfig
from textgen.evaluate import evaluate
from textgen.open_corpus import data_config, open_corpus_on_all_ranks
from textgen.open_model import OpenedModel, load_place, place_on_all_ranks
from textgen.splits import PARTS
from textgen.training import pick_device
from textgen.windows import SlidingWindows

logger = get_logger(__name__)

LONGEST_DEFAULT_WINDOW = 1024
"""Tokens: what GPT-2 sees; a model that sees more is given as much only when asked to."""
_DATA_FIELDS = ("data", "text_column", "val_fraction", "test_fraction")


def score_model(
    name: Path, splits: Sequence[str], stride: int | None, flags: Mapping[str, Any]
) -> int:
    """Score the parts and print one JSON object on rank 0. Every rank must call.

    Args:
        name: a run, a folder with a model, or a hub id.
        stride: tokens that each window moves by; None is the context length: windows that do not
            overlap.
        flags: fields of `TrainConfig`, None where not given. A run's data and windows are those it
            was trained with; another model's are the defaults, up to `LONGEST_DEFAULT_WINDOW`.

    Raises:
        UserError: no such model, no such part, data that cannot be read, or windows that are longer
            than the model sees.
    """
    world = hvdcore.torch.init()
    setup_logging(world, None)
    _check_splits(splits)
    place = place_on_all_ranks(name, world)
    run = None if place.run is None else RunDir(place.run)
    config = load_config(TrainConfig, None if run is None else run.config, flags)
    opened = load_place(place, pick_device(world))
    length = _context_length(opened, config, is_given=flags.get("context_length") is not None)
    moved = _check_stride(stride, length)
    tokenizer = None
    if run is None or config.init_from or any(flags.get(field) for field in _DATA_FIELDS):
        tokenizer = str(place.folder)
    corpus = open_corpus_on_all_ranks(data_config(config, length, tokenizer), world)
    scores = {}
    for split in splits:
        part = corpus.part(split)
        if part is None:
            logger.warning("the %s part of this corpus is empty; it is not scored", split)
            continue
        score = evaluate(
            opened.model, part if moved == length else SlidingWindows(part, moved), world,
            batch_size=config.eval_batch_size, num_bytes=corpus.num_bytes[split],
            num_words=corpus.num_words[split], device=pick_device(world),
        )  # fmt: skip
        scores[split] = {**score.to_json(), "context_length": length, "stride": moved}
    if world.is_root:
        print(json.dumps(scores, indent=2), flush=True)
    return 0


def _context_length(opened: OpenedModel, config: TrainConfig, *, is_given: bool) -> int:
    longest = opened.model.config.context_length
    if opened.place.run is None and not is_given:
        return min(longest, LONGEST_DEFAULT_WINDOW)
    if config.context_length > longest:
        raise UserError(
            f"context_length: got {config.context_length}; {opened.place.name} sees {longest} "
            "tokens at most"
        )
    return config.context_length


def _check_stride(stride: int | None, context_length: int) -> int:
    if stride is None:
        return context_length
    if not 1 <= stride <= context_length:
        raise UserError(f"stride: got {stride}; give 1 to {context_length}, the context length")
    return stride


def _check_splits(splits: Sequence[str]) -> None:
    problems = Problems()
    for split in splits:
        if split not in PARTS:
            problems.add("split", f"got {split!r}; give one of {', '.join(PARTS)}")
    problems.raise_if_any()
