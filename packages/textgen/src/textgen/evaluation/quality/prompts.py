"""Prompts from held-out books, the same for every model, and the human text that follows each.

They are cut from the bytes of the books at the ends of words, independently of any tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hvdcore.errors import UserError
from textgen.data.distributed import prepare_distributed

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.data.config import DataConfig
    from textgen.evaluation.quality.config import QualityConfig

__all__ = [
    "Prompt",
    "cut_prompts",
    "first_words",
    "held_out_prompts",
    "ngrams",
]

_WORD = re.compile(r"\S+")
_WORD_AND_SPACE = re.compile(rb"\S*\s+")
_BYTES_PER_WORD = 32  # read at most as many per word: prose has no longer ones on average
_DRAWS_PER_PROMPT = 50

Bytes = npt.NDArray[Any]


def first_words(text: str, count: int) -> str:
    """The text up to the end of its `count`-th word, or all of it if it has no more."""
    end = 0
    for number, match in enumerate(_WORD.finditer(text), start=1):
        end = match.end()
        if number == count:
            break
    return text[:end]


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """The n-grams of a text in order, with repetitions; none when it is shorter."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


@dataclass(frozen=True)
class Prompt:
    """A passage of a book, cut in two.

    Attributes:
        text: the prompt; it ends at the end of a word.
        human: the continuation in the book, up to the end of a word.
        offset: of `text` in the split, in bytes.
    """

    text: str
    human: str
    offset: int


def cut_prompts(
    split: Bytes,
    starts: Sequence[int] | npt.NDArray[np.int64],
    *,
    num_prompts: int,
    prompt_words: int,
    continuation_words: int,
    seed: int,
    name: str = "test",
) -> list[Prompt]:
    """Passages of the split that do not overlap, each within one document, in their order.

    Offsets are drawn uniformly over the bytes, so long books give more prompts than short ones.

    Args:
        split: the UTF-8 bytes of all documents, concatenated [bytes], with zeros in between.
        starts: offset of each document, increasing.
        name: of the split, for the message.

    Raises:
        UserError: the documents are too short, or too few, for so many prompts.
    """
    wanted = prompt_words + continuation_words
    ends = [*starts[1:], len(split)]
    draw = np.random.default_rng([seed, 0x9807])
    found: list[tuple[int, int, Prompt]] = []
    for offset in draw.integers(0, max(len(split), 1), num_prompts * _DRAWS_PER_PROMPT).tolist():
        if len(found) == num_prompts:
            break
        document = int(np.searchsorted(starts, offset, side="right")) - 1
        end = (
            min(int(ends[document]), offset + wanted * _BYTES_PER_WORD) if document >= 0 else offset
        )
        taken = _take(split, offset, end, prompt_words, wanted)
        if taken is None or any(taken[0] < last and first < taken[1] for first, last, _ in found):
            continue
        found.append(taken)
    if len(found) < num_prompts:
        raise UserError(
            f"num_prompts: the {name} split ({len(starts)} documents, {len(split):,} bytes) has "
            f"room for about {len(found)} passages of {prompt_words} + {continuation_words} words, "
            f"not for {num_prompts}; lower --num-prompts, --prompt-words or "
            "--continuation-words, or give longer books"
        )
    return [prompt for *_, prompt in sorted(found, key=lambda one: one[0])]


def _take(
    split: Bytes, offset: int, end: int, prompt_words: int, wanted: int
) -> tuple[int, int, Prompt] | None:
    """(first byte, byte after the last, prompt) from the first word that begins after `offset`."""
    raw = bytes(split[offset:end].astype(np.uint8))
    word = _WORD_AND_SPACE.match(raw)
    if word is None:
        return None
    text = raw[word.end() :].decode("utf-8", "ignore")  # the last character may be incomplete
    passage = first_words(text, wanted)
    # Another word must follow, or the last one may be incomplete.
    if len(text.split()) <= wanted:
        return None
    prompt = first_words(passage, prompt_words)
    first = offset + word.end()
    last = first + len(passage.encode())
    return first, last, Prompt(prompt, passage[len(prompt) :], first)


def held_out_prompts(
    data: DataConfig, names: Sequence[str], config: QualityConfig, world: World
) -> tuple[str, list[Prompt]]:
    """The split that prompts are cut from, and the prompts. Every rank must call; all get the same.

    Documents are split by content, so the split in bytes is the text that a model's own tokens
    stand for.

    Args:
        names: of splits; the first that is not empty is taken, but never train.

    Raises:
        UserError: no held-out split, or too little text in it.
    """
    in_bytes = data.model_copy(update={"tokenizer": "byte", "context_length": 1})
    corpus = prepare_distributed(in_bytes, world)
    for name in names:
        split = corpus.split(name) if name != "train" else None
        if split is not None:
            prompts = cut_prompts(
                split.tokens, corpus.document_offsets(name), num_prompts=config.num_prompts,
                prompt_words=config.prompt_words, continuation_words=config.continuation_words,
                seed=config.seed, name=name,
            )  # fmt: skip
            return name, prompts
    raise UserError(
        f"split: prompts are cut from held-out text, and of {', '.join(names)} this corpus has "
        "none; give --split test or val, and for the data of a run --test-fraction or "
        "--val-fraction above 0"
    )
