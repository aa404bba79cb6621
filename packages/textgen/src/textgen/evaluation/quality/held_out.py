"""Owns the held-out text that prompts are cut from: the bytes of the books, no model's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hvdcore.errors import UserError
from textgen.data.distributed import open_corpus_on_all_ranks
from textgen.evaluation.quality.prompts import Prompt, cut_prompts

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.data.prepare import DataConfig
    from textgen.evaluation.quality.config import JudgeConfig

__all__ = ["held_out_prompts"]


def held_out_prompts(
    data: DataConfig, splits: Sequence[str], config: JudgeConfig, world: World
) -> tuple[str, list[Prompt]]:
    """The part that was taken, and its prompts. Every rank must call; all get the same.

    The documents are split by their content, so the part under the byte tokenizer is the very
    text that a model's own tokens stand for.

    Args:
        splits: parts to take, the first that is not empty; train is never one.

    Raises:
        UserError: no held-out part, or too little text in it.
    """
    corpus = open_corpus_on_all_ranks(replace(data, tokenizer="byte", context_length=1), world)
    for name in splits:
        part = corpus.part(name) if name != "train" else None
        if part is not None:
            prompts = cut_prompts(
                part.tokens, corpus.document_offsets(name), num_prompts=config.num_prompts,
                prompt_words=config.prompt_words, continuation_words=config.continuation_words,
                seed=config.seed, name=name,
            )  # fmt: skip
            return name, prompts
    raise UserError(
        f"split: prompts are cut from held-out text, and of {', '.join(splits)} this corpus has "
        "none; give --split test or val, and data that was trained on with --test-fraction or "
        "--val-fraction above 0"
    )
