"""``textgen evaluate``: the exact score of a model on splits of a corpus, on all ranks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hvdcore.torch
from hvdcore.config import load_config
from hvdcore.errors import UserError
from hvdcore.files.json_files import json_safe
from hvdcore.run.run_dir import RunDir
from hvdcore.run.splits import check_split_names
from hvdcore.torch.hardware import pick_device
from hvdcore.tracking.logs import get_logger, setup_logging
from textgen.config import TrainConfig
from textgen.data.corpus import SlidingWindows
from textgen.data.distributed import prepare_distributed
from textgen.evaluation.evaluate import evaluate
from textgen.evaluation.quality.page import FILE
from textgen.evaluation.quality.prompts import held_out_prompts
from textgen.evaluation.quality.run import measure_quality, open_scorer
from textgen.evaluation.report import write_report
from textgen.model.language_model import device_of
from textgen.pretrained.load import LoadedModel, ResolvedModel, resolve_distributed

if TYPE_CHECKING:
    import torch

    from hvdcore.runtime.world import World
    from textgen.evaluation.quality.config import QualityConfig
    from textgen.tokenizer.tokenizer import Tokenizer

__all__ = ["DATA_FIELDS", "Scoring", "score_model"]

logger = get_logger(__name__)

LONGEST_DEFAULT_WINDOW = 1024
"""Tokens, as GPT-2; longer windows have to be asked for."""
DATA_FIELDS = ("data", "text_column", "val_fraction", "test_fraction")


def score_model(
    name: Path,
    splits: Sequence[str],
    stride: int | None,
    flags: Mapping[str, Any],
    quality: QualityConfig | None = None,
    scorer: str | None = None,
) -> int:
    """Score the splits and print one JSON object on rank 0. Every rank must call.

    Args:
        name: a run, a folder with a model, or a hub id.
        stride: tokens between the starts of two windows; None for the context length, so that
            windows do not overlap.
        flags: fields of `TrainConfig`, None where not given. By default a run is scored on the data
            and with the context length that it was trained with; another model on the defaults,
            with windows of up to `LONGEST_DEFAULT_WINDOW`.
        quality: also measure the quality of generated text; for a run it is saved in
            generation.json and shown on its page.
        scorer: the model that scores generated text; None for the model itself.

    Raises:
        UserError: no such model or split, data that cannot be read, or windows that are longer than
            the model's context.
    """
    world = hvdcore.torch.init()
    setup_logging(world, None)
    check_split_names(splits)
    device = pick_device(world)
    scoring = Scoring.of(resolve_distributed(name, world), stride, flags, device)
    judge = scoring.opened if scorer is None else open_scorer(scorer, world, device)
    cut = None
    if quality is not None:  # before the work, as there may be too little text
        wanted = [split for split in ("test", "val") if split in splits] or splits
        cut = held_out_prompts(scoring.config, wanted, quality, world)
    scores: dict[str, Any] = scoring.score(splits, world)
    if quality is not None and cut is not None:
        measured = measure_quality(scoring.opened, judge, *cut, quality, world)
        if world.is_root:
            _save_quality(measured, scoring.opened.source.run)
            scores["generation"] = {k: v for k, v in measured.items() if k != "prompts"}
    if world.is_root:
        print(json.dumps(json_safe(scores), indent=2), flush=True)
    return 0


@dataclass(frozen=True)
class Scoring:
    """A loaded model, and how and on what it is scored.

    Attributes:
        config: the run's own, or the defaults, with the changes of flags; its context length is
            that of the windows, its tokenizer finds the corpus in the model's tokens.
        tokenizer: to prepare the corpus with; None where the configuration of a run tells.
        stride: tokens between the starts of two windows.
    """

    opened: LoadedModel
    config: TrainConfig
    tokenizer: Tokenizer | None
    stride: int

    @classmethod
    def of(
        cls,
        resolved: ResolvedModel,
        stride: int | None,
        flags: Mapping[str, Any],
        device: torch.device,
    ) -> Scoring:
        """See `score_model`.

        Raises:
            UserError: the model cannot be loaded, or the windows are longer than its context.
        """
        run = None if resolved.run is None else RunDir(resolved.run)
        config = load_config(TrainConfig, None if run is None else run.config, flags)
        opened = resolved.load(device)
        length = _context_length(opened, config, is_given=flags.get("context_length") is not None)
        changes: dict[str, Any] = {"context_length": length}
        tokenizer = None
        is_other_data = any(flags.get(field) is not None for field in DATA_FIELDS)
        if run is None or config.init_from or is_other_data:
            tokenizer = opened.tokenizer
            changes["tokenizer"] = str(resolved.folder)
        return cls(
            opened, config.model_copy(update=changes), tokenizer, _check_stride(stride, length)
        )

    def prepare(self, world: World) -> None:
        """Prepare the corpus in the model's tokens. Every rank must call."""
        prepare_distributed(self.config, world, self.tokenizer)

    def score(self, splits: Sequence[str], world: World) -> dict[str, dict[str, Any]]:
        """The scores of each split that is not empty. Every rank must call."""
        corpus = prepare_distributed(self.config, world, self.tokenizer)
        length = self.config.context_length
        scores = {}
        for split in splits:
            blocks = corpus.split(split)
            if blocks is None:
                logger.warning("the %s split of this corpus is empty; it is not scored", split)
                continue
            windows = blocks if self.stride == length else SlidingWindows(blocks, self.stride)
            score = evaluate(
                self.opened.model, windows, world, batch_size=self.config.eval_batch_size,
                num_bytes=corpus.num_bytes[split], num_words=corpus.num_words[split],
                device=device_of(self.opened.model),
            )  # fmt: skip
            scores[split] = {**score.to_json(), "context_length": length, "stride": self.stride}
        return scores


def _context_length(opened: LoadedModel, config: TrainConfig, *, is_given: bool) -> int:
    longest = opened.model.config.context_length
    if opened.source.run is None and not is_given:
        return min(longest, LONGEST_DEFAULT_WINDOW)
    if config.context_length > longest:
        raise UserError(
            f"context_length: got {config.context_length}; {opened.source.name} sees {longest} "
            "tokens at most"
        )
    return config.context_length


def _check_stride(stride: int | None, context_length: int) -> int:
    if stride is None:
        return context_length
    if not 1 <= stride <= context_length:
        raise UserError(f"stride: got {stride}; give 1 to {context_length}, the context length")
    return stride


def _save_quality(measured: Mapping[str, Any], path: Path | None) -> None:
    """Save it in the run and show it on its page, if the model is a run's. Rank 0 only."""
    if path is not None:
        run = RunDir(path)
        run.write_json(FILE, measured)
        write_report([run.path], run.report_html)
