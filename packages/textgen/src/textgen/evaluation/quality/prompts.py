"""Owns the prompts: stretches of held-out books, the same whatever model is asked.

They are cut from the bytes of the books at the ends of words, so no tokenizer has a say in them.

Owns the held-out text that prompts are cut from: the bytes of the books, no model's tokens.

Owns what a word is in the judgement of text: what stands between white space, as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hvdcore.errors import UserError
from textgen.data.distributed import open_corpus_on_all_ranks

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.data.config import DataConfig
    from textgen.evaluation.quality.config import JudgeConfig

__all__ = [
    "Prompt",
    "cut_prompts",
    "first_words",
    "held_out_prompts",
    "ngrams",
]

_WORD = re.compile(r"\S+")


def first_words(text: str, count: int) -> str:
    """The text up to the end of its `count`-th word, or all of it if there are no more."""
    end = 0
    for number, match in enumerate(_WORD.finditer(text), start=1):
        end = match.end()
        if number == count:
            break
    return text[:end]


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """The n-grams of a text in order, repeated ones too; none when it is shorter."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


_BYTES_A_WORD = 32  # read at most so many for each word wanted: longer ones are no prose
_DRAWS_A_PROMPT = 50
_WORD_AND_SPACE = re.compile(rb"\S*\s+")

Bytes = npt.NDArray[Any]


@dataclass(frozen=True)
class Prompt:
    """A stretch of a book, cut in two.

    Attributes:
        text: what the model is given; it ends at the end of a word.
        human: how the book goes on, from there to the end of a word.
        place: byte of the part at which `text` begins.
    """

    text: str
    human: str
    place: int


def cut_prompts(
    part: Bytes,
    starts: Sequence[int] | npt.NDArray[np.int64],
    *,
    num_prompts: int,
    prompt_words: int,
    continuation_words: int,
    seed: int,
    name: str = "test",
) -> list[Prompt]:
    """Stretches of the part that do not overlap, each within one document, in their order.

    Places are drawn uniformly over the bytes, so long books give more prompts than short ones.

    Args:
        part: the UTF-8 of all documents, one after another [bytes]; zeros between them are no text.
        starts: where each document begins, increasing.
        name: of the part, for the message.

    Raises:
        UserError: the documents are too short, or too few, for so many prompts.
    """
    wanted = prompt_words + continuation_words
    ends = [*starts[1:], len(part)]
    draw = np.random.default_rng([seed, 0x9807])
    found: list[tuple[int, int, Prompt]] = []
    for place in draw.integers(0, max(len(part), 1), num_prompts * _DRAWS_A_PROMPT).tolist():
        if len(found) == num_prompts:
            break
        document = int(np.searchsorted(starts, place, side="right")) - 1
        end = min(int(ends[document]), place + wanted * _BYTES_A_WORD) if document >= 0 else place
        taken = _take(part, place, end, prompt_words, wanted)
        if taken is None or any(taken[0] < last and first < taken[1] for first, last, _ in found):
            continue
        found.append(taken)
    if len(found) < num_prompts:
        raise UserError(
            f"num_prompts: the {name} part ({len(starts)} documents, {len(part):,} bytes) has room "
            f"for about {len(found)} stretches of {prompt_words} + {continuation_words} words, not "
            f"for {num_prompts}; lower --num-prompts, --prompt-words or --continuation-words, or "
            "give longer books"
        )
    return [prompt for *_, prompt in sorted(found, key=lambda one: one[0])]


def _take(
    part: Bytes, place: int, end: int, prompt_words: int, wanted: int
) -> tuple[int, int, Prompt] | None:
    """(first byte, byte after the last, prompt) from the first word that begins after `place`."""
    raw = bytes(part[place:end].astype(np.uint8))
    word = _WORD_AND_SPACE.match(raw)
    if word is None:
        return None
    text = raw[word.end() :].decode("utf-8", "ignore")  # the end may be half a character
    stretch = first_words(text, wanted)
    # One word more must follow, or the last one may be cut.
    if len(text.split()) <= wanted:
        return None
    prompt = first_words(stretch, prompt_words)
    first = place + word.end()
    last = first + len(stretch.encode())
    return first, last, Prompt(prompt, stretch[len(prompt) :], first)


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
