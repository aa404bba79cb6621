"""``textgen evaluate``: the exact score of a model on parts of a corpus, on all ranks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hvdcore.torch
from hvdcore.config import load_config
from hvdcore.errors import Problems, UserError
from hvdcore.files.json_files import json_safe
from hvdcore.run.run_dir import RunDir
from hvdcore.torch.hardware import pick_device
from hvdcore.tracking.logs import get_logger, setup_logging
from textgen.config import TrainConfig
from textgen.data.corpus import SlidingWindows
from textgen.data.distributed import data_config, open_corpus_on_all_ranks
from textgen.data.splits import PARTS
from textgen.evaluation.evaluate import evaluate
from textgen.evaluation.quality.page import FILE
from textgen.evaluation.quality.prompts import held_out_prompts
from textgen.evaluation.quality.run import judge_model, open_scorer
from textgen.evaluation.report import write_report
from textgen.model.language_model import device_of
from textgen.pretrained.load import (
    ModelPlace,
    OpenedModel,
    load_place,
    place_on_all_ranks,
)

if TYPE_CHECKING:
    import torch

    from hvdcore.runtime.world import World
    from textgen.data.config import DataConfig
    from textgen.evaluation.quality.config import JudgeConfig

logger = get_logger(__name__)

LONGEST_DEFAULT_WINDOW = 1024
"""Tokens: what GPT-2 sees; a model that sees more is given as much only when asked to."""
DATA_FIELDS = ("data", "text_column", "val_fraction", "test_fraction")


@dataclass(frozen=True)
class Scoring:
    """A model that is ready to be scored: how, and on what.

    Attributes:
        config: the run's own, or the defaults, with what flags change.
        context_length, stride: of the windows, in tokens.
        data: what is read, in the model's own tokens.
    """

    opened: OpenedModel
    config: TrainConfig
    context_length: int
    stride: int
    data: DataConfig

    @classmethod
    def of(
        cls, place: ModelPlace, stride: int | None, flags: Mapping[str, Any], device: torch.device
    ) -> Scoring:
        """See `score_model`.

        Raises:
            UserError: the model cannot be loaded, or the windows are longer than it sees.
        """
        run = None if place.run is None else RunDir(place.run)
        config = load_config(TrainConfig, None if run is None else run.config, flags)
        opened = load_place(place, device)
        length = _context_length(opened, config, is_given=flags.get("context_length") is not None)
        moved = _check_stride(stride, length)
        tokenizer = None
        if (
            run is None
            or config.init_from
            or any(flags.get(field) is not None for field in DATA_FIELDS)
        ):
            tokenizer = str(place.folder)
        return cls(opened, config, length, moved, data_config(config, length, tokenizer))

    def score(self, splits: Sequence[str], world: World) -> dict[str, dict[str, Any]]:
        """The figures of each part that is not empty. Every rank must call."""
        corpus = open_corpus_on_all_ranks(self.data, world)
        scores = {}
        for split in splits:
            part = corpus.part(split)
            if part is None:
                logger.warning("the %s part of this corpus is empty; it is not scored", split)
                continue
            is_whole = self.stride == self.context_length
            windows = part if is_whole else SlidingWindows(part, self.stride)
            score = evaluate(
                self.opened.model, windows, world, batch_size=self.config.eval_batch_size,
                num_bytes=corpus.num_bytes[split], num_words=corpus.num_words[split],
                device=device_of(self.opened.model),
            )  # fmt: skip
            shape = {"context_length": self.context_length, "stride": self.stride}
            scores[split] = {**score.to_json(), **shape}
        return scores


def score_model(
    name: Path,
    splits: Sequence[str],
    stride: int | None,
    flags: Mapping[str, Any],
    judging: JudgeConfig | None = None,
    scorer: str | None = None,
) -> int:
    """Score the parts and print one JSON object on rank 0. Every rank must call.

    Args:
        name: a run, a folder with a model, or a hub id.
        stride: tokens that each window moves by; None is the context length: windows that do not
            overlap.
        flags: fields of `TrainConfig`, None where not given. A run's data and windows are those it
            was trained with; another model's are the defaults, up to `LONGEST_DEFAULT_WINDOW`.
        judging: also judge what the model writes; a run keeps it in generation.json and its page.
        scorer: the model that judges; None is the model itself.

    Raises:
        UserError: no such model, no such part, data that cannot be read, or windows that are longer
            than the model sees.
    """
    world = hvdcore.torch.init()
    setup_logging(world, None)
    check_splits(splits)
    device = pick_device(world)
    scoring = Scoring.of(place_on_all_ranks(name, world), stride, flags, device)
    judge = scoring.opened if scorer is None else open_scorer(scorer, world, device)
    cut = None
    if judging is not None:  # before the work, for there may be too little text
        wanted = [split for split in ("test", "val") if split in splits] or splits
        cut = held_out_prompts(scoring.data, wanted, judging, world)
    scores: dict[str, Any] = scoring.score(splits, world)
    if judging is not None and cut is not None:
        judgement = judge_model(scoring.opened, judge, *cut, judging, world)
        if world.is_root:
            keep_judgement(judgement, scoring.opened.place.run)
            scores["generation"] = {k: v for k, v in judgement.items() if k != "prompts"}
    if world.is_root:
        print(json.dumps(json_safe(scores), indent=2), flush=True)
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


def check_splits(splits: Sequence[str]) -> None:
    problems = Problems()
    for split in splits:
        if split not in PARTS:
            problems.add("split", f"got {split!r}; give one of {', '.join(PARTS)}")
    problems.raise_if_any()


def keep_judgement(judgement: Mapping[str, Any], run: Path | None) -> None:
    """Put it into the run and on its page, where the model is a run's. Rank 0 only."""
    if run is not None:
        found = RunDir(run)
        found.write_json(FILE, judgement)
        write_report([found.path], found.report_html)
