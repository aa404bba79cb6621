"""``textgen evaluate``: the exact score of a saved model on parts of a corpus, on all ranks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hvdcore.torch
from hvdcore.config import load_config
from hvdcore.errors import Problems
from hvdcore.json_files import json_safe
from hvdcore.logs import get_logger, setup_logging
from hvdcore.run_dir import RunDir
from textgen.config import TrainConfig
from textgen.evaluate import evaluate
from textgen.judge.config import JudgeConfig
from textgen.judge.evaluation import Named, judge_model, open_scorer
from textgen.judge.page import FILE
from textgen.open_corpus import data_config, open_corpus_on_all_ranks
from textgen.report import write_report
from textgen.saved_model import load_model
from textgen.splits import PARTS
from textgen.training import pick_device

logger = get_logger(__name__)


def score_run(
    path: Path,
    data: str | None,
    text_column: str | None,
    splits: Sequence[str],
    judging: JudgeConfig | None = None,
    scorer: str | None = None,
) -> int:
    """Score the parts and print one JSON object on rank 0. Every rank must call.

    Args:
        data, text_column: other data than the run was trained on, cut into the same parts with
            the run's own tokenizer; None is the run's data.
        judging: also judge what the model writes, into the run's generation.json and its page.
        scorer: a run or a saved model that judges; None is the model itself.

    Raises:
        UserError: no run, no model in it, no such part, or data that cannot be read.
    """
    world = hvdcore.torch.init()
    setup_logging(world, None)
    _check_splits(splits)
    run = RunDir.open(path)
    device = pick_device(world)
    model, tokenizer = load_model(run.model, device)
    writer = Named(f"the model itself ({path})", model, tokenizer)
    judge = writer if scorer is None else open_scorer(scorer, device)
    config = load_config(TrainConfig, run.config)
    if data is not None:
        changes = {"data": data, "tokenizer": str(run.model)}
        config = config.model_copy(
            update=changes | ({"text_column": text_column} if text_column else {})
        )
    corpus = open_corpus_on_all_ranks(data_config(config, model.config.context_length), world)
    scores: dict[str, Any] = {}
    for split in splits:
        part = corpus.part(split)
        if part is not None:
            scores[split] = evaluate(
                model, part, world, batch_size=config.eval_batch_size,
                num_bytes=corpus.num_bytes[split], device=device,
            ).to_json()  # fmt: skip
        else:
            logger.warning("the %s part of this corpus is empty; it is not scored", split)
    if judging is not None:
        wanted = [split for split in ("test", "val") if split in splits] or splits
        data_of_run = data_config(config, model.config.context_length)
        judgement = judge_model(writer, judge, data_of_run, wanted, judging, world)
        if world.is_root:
            run.write_json(FILE, judgement)
            write_report([run.path], run.report_html)
            scores["generation"] = {k: v for k, v in judgement.items() if k != "prompts"}
    if world.is_root:
        print(json.dumps(json_safe(scores), indent=2), flush=True)
    return 0


def _check_splits(splits: Sequence[str]) -> None:
    problems = Problems()
    for split in splits:
        if split not in PARTS:
            problems.add("split", f"got {split!r}; give one of {', '.join(PARTS)}")
    problems.raise_if_any()
