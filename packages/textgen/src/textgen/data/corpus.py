"""Owns a prepared corpus on disk: what is in the folder, and how it is opened.

Owns the cut of a token stream into the blocks that the model is trained and evaluated on.

Owns sliding windows over a part: each moves by a stride; what is new in it is scored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.errors import UserError
from textgen.data.splits import PARTS
from textgen.tokenizer.load import load_tokenizer
from textgen.tokenizer.tokenizer import Tokenizer

__all__ = [
    "IGNORE",
    "META",
    "SCHEMA",
    "Corpus",
    "SlidingWindows",
    "TokenBlocks",
    "is_complete",
    "open_corpus",
    "phase_of_epoch",
]

IGNORE = -100
"""Target of a padded place: `torch.nn.functional.cross_entropy` leaves it out by default."""

Int64Array = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class TokenBlocks:
    """Windows of `context_length` tokens, one after another, none overlapping.

    Block i reads tokens [phase + i*T, phase + (i+1)*T) and predicts each one's successor, so a
    token is the target of at most one place of one block. With `keep_tail` the last block may be
    short (padded; targets IGNORE): every token but the first is then a target exactly once, which
    is what evaluation needs. Without it (training) all blocks are full, and an epoch leaves out
    the fewer than T tokens before the first and after the last block.

    Args:
        tokens: the whole part, one dimension, usually a read-only memory map.
        context_length: T, tokens a block.
        phase: tokens before the first block; a pure function of (seed, epoch) in training.
        keep_tail: whether a short last block counts.
        num_bytes: UTF-8 bytes of the text that the part's predicted tokens stand for
            (the denominator of bits per byte when all blocks of the part are evaluated).
    """

    tokens: Tokens
    context_length: int
    phase: int = 0
    keep_tail: bool = False
    num_bytes: int = 0

    def __post_init__(self) -> None:
        if self.context_length < 1:
            raise ValueError(f"context_length: got {self.context_length}; give 1 or more")
        if self.phase < 0:
            raise ValueError(f"phase: got {self.phase}; give 0 or more")

    def __len__(self) -> int:
        places = max(len(self.tokens) - 1 - self.phase, 0)
        if self.keep_tail:
            return -(-places // self.context_length)
        return places // self.context_length

    @property
    def num_tokens(self) -> int:
        """Tokens in the part, predicted or not."""
        return len(self.tokens)

    @property
    def num_targets(self) -> int:
        """Tokens that are a target in one pass over all blocks."""
        places = max(len(self.tokens) - 1 - self.phase, 0)
        return min(places, len(self) * self.context_length)

    def at_phase(self, phase: int) -> TokenBlocks:
        """The same tokens cut `phase` tokens later (see `phase_of_epoch`)."""
        return TokenBlocks(
            self.tokens, self.context_length, phase % self.context_length, self.keep_tail
        )

    def block(self, index: int) -> tuple[Int64Array, Int64Array]:
        """Inputs [T] and targets [T] of one block."""
        inputs, targets = self.batch([index])
        return inputs[0], targets[0]

    def batch(
        self, indices: Sequence[int] | npt.NDArray[np.integer]
    ) -> tuple[Int64Array, Int64Array]:
        """Inputs [B, T] and targets [B, T] of the blocks `indices` ([B], in that order).

        Raises:
            IndexError: when an index is not in [0, len(self)).
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"block {wanted.min()}..{wanted.max()} of {len(self)} blocks")
        starts = self.phase + wanted * self.context_length
        places = starts[:, None] + np.arange(self.context_length + 1)  # [B, T+1]
        last = len(self.tokens) - 1
        windows = self.tokens[np.minimum(places, max(last, 0))].astype(np.int64)
        inputs, targets = windows[:, :-1], windows[:, 1:]
        if self.keep_tail:
            targets = np.where(places[:, 1:] > last, IGNORE, targets)
        return np.ascontiguousarray(inputs), np.ascontiguousarray(targets)


def phase_of_epoch(context_length: int, seed: int, epoch: int) -> int:
    """Where the first block of an epoch starts: uniform in [0, context_length).

    Depends on (seed, epoch) alone, so that a resumed run cuts the epoch as before. Every rank
    computes the same.
    """
    return int(np.random.default_rng([seed, epoch, 0x9A5E]).integers(context_length))


META = "meta.json"
SCHEMA = 2


@dataclass(frozen=True)
class Corpus:
    """Tokenized parts, memory mapped: opening costs nothing, ranks of one host share the pages.

    Attributes:
        path: the folder.
        context_length: tokens a block.
        meta: the content of meta.json.
    """

    path: Path
    context_length: int
    meta: dict[str, Any]

    @cached_property
    def train(self) -> TokenBlocks:
        """Full blocks only."""
        return self._blocks("train", keep_tail=False)

    @cached_property
    def val(self) -> TokenBlocks:
        """Every token but the first is a target once; no blocks when there is no val part."""
        return self._blocks("val", keep_tail=True)

    @cached_property
    def test(self) -> TokenBlocks:
        """As `val`."""
        return self._blocks("test", keep_tail=True)

    def part(self, name: str) -> TokenBlocks | None:
        """Blocks of "train", "val" or "test"; None when the part was not asked for."""
        blocks = {"train": self.train, "val": self.val, "test": self.test}[name]
        return blocks if len(blocks) else None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids; `tokenizer_path` is its folder."""
        return load_tokenizer(self.tokenizer_path)

    @property
    def tokenizer_path(self) -> Path:
        """Folder with tokenizer.json and tokenizer_config.json, to copy into a run."""
        return self.path / "tokenizer"

    @property
    def num_tokens(self) -> dict[str, int]:
        """Ids of each part."""
        return {name: int(self.meta["parts"][name]["tokens"]) for name in PARTS}

    @property
    def num_bytes(self) -> dict[str, int]:
        """UTF-8 bytes that the predicted tokens of each part stand for."""
        return {name: int(self.meta["parts"][name]["target_bytes"]) for name in PARTS}

    @property
    def num_words(self) -> dict[str, int]:
        """Words in those bytes, as `textgen.data.encode` counts them."""
        return {name: int(self.meta["parts"][name]["target_words"]) for name in PARTS}

    def document_offsets(self, name: str) -> npt.NDArray[np.int64]:
        """Index of the first token of each document of a part, shape [documents]."""
        offsets: npt.NDArray[np.int64] = np.load(
            self.path / f"{name}.offsets.npy", allow_pickle=False
        )
        return offsets

    def _blocks(self, name: str, *, keep_tail: bool) -> TokenBlocks:
        dtype = np.dtype(self.meta["dtype"])
        tokens: npt.NDArray[Any]
        if self.num_tokens[name]:
            tokens = np.memmap(self.path / f"{name}.bin", dtype=dtype, mode="r")
        else:  # an empty file cannot be mapped
            tokens = np.empty(0, dtype=dtype)
        return TokenBlocks(
            tokens, self.context_length, keep_tail=keep_tail, num_bytes=self.num_bytes[name]
        )


def open_corpus(path: Path, context_length: int) -> Corpus:
    """Open what `prepare` wrote. Every rank may call; nothing is written.

    Raises:
        UserError: no complete corpus there, or a part is shorter than one block.
    """
    if not is_complete(path):
        raise UserError(f"data: {path} is not a complete prepared corpus; run textgen prepare")
    corpus = Corpus(path, context_length, json.loads((path / META).read_text(encoding="utf-8")))
    short = [
        f"data: the {name} part holds {part['tokens']} tokens, fewer than one block of "
        f"context_length {context_length} and its last target; {_fix(name)}"
        for name, part in corpus.meta["parts"].items()
        if part["documents"] and part["tokens"] < context_length + 1
    ]
    if short:
        raise UserError(*short)
    return corpus


def _fix(name: str) -> str:
    larger = "" if name == "train" else f", raise --{name}-fraction (0 leaves the part out)"
    return f"lower --context-length{larger} or give more text"


def is_complete(path: Path) -> bool:
    """Whether `path` holds a corpus of this schema with files as long as meta.json says."""
    try:
        meta = json.loads((path / META).read_text(encoding="utf-8"))
        if meta["schema"] != SCHEMA:
            return False
        width = np.dtype(meta["dtype"]).itemsize
        return (path / "tokenizer" / "tokenizer.json").is_file() and all(
            (path / f"{name}.bin").stat().st_size == meta["parts"][name]["tokens"] * width
            for name in PARTS
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


@dataclass(frozen=True)
class SlidingWindows:
    """Window i reads tokens [i*S, i*S + T) of a part; T is its context_length, S the stride.

    The first window scores all its targets, each later one its last S, so every token but the
    part's first is scored once, with at least T - S tokens before it (the first T of the part
    apart). With S = T the windows are the part's blocks. The last may be short (padded).

    Args:
        blocks: a whole part, as `Corpus.part` gives it for val or test.
        stride: S, in 1..T.
    """

    blocks: TokenBlocks
    stride: int

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.blocks.context_length:
            raise ValueError(
                f"stride: got {self.stride}; give 1 to {self.blocks.context_length}, the context "
                "length"
            )

    @property
    def context_length(self) -> int:
        return self.blocks.context_length

    def __len__(self) -> int:
        places = max(self.blocks.num_tokens - 1, 0)
        if places == 0:
            return 0
        return 1 + -(-max(places - self.context_length, 0) // self.stride)

    def batch(
        self, indices: Sequence[int] | npt.NDArray[np.integer]
    ) -> tuple[Int64Array, Int64Array]:
        """As `TokenBlocks.batch`; what was scored before has target IGNORE."""
        wanted = np.asarray(indices, dtype=np.int64)
        tokens, last = self.blocks.tokens, self.blocks.num_tokens - 1
        places = wanted[:, None] * self.stride + np.arange(self.context_length + 1)  # [B, T+1]
        windows = tokens[np.minimum(places, max(last, 0))].astype(np.int64)
        scored_before = (wanted[:, None] - 1) * self.stride + self.context_length
        old = (wanted[:, None] > 0) & (places[:, 1:] <= scored_before)
        targets = np.where(old | (places[:, 1:] > last), IGNORE, windows[:, 1:])
        return np.ascontiguousarray(windows[:, :-1]), targets
