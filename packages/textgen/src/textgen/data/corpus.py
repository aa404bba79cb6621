"""A prepared corpus on disk, and the blocks of tokens that models are trained and evaluated on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.errors import UserError
from hvdcore.files.checksums import damaged_file
from textgen.data.splits import SPLITS
from textgen.model.config import IGNORE_INDEX
from textgen.tokenizer.load import load_tokenizer
from textgen.tokenizer.tokenizer import Tokenizer

__all__ = [
    "META",
    "SCHEMA",
    "BlockSubset",
    "Corpus",
    "SlidingWindows",
    "TokenBlocks",
    "TrainBlocks",
    "is_complete",
    "open_corpus",
]

META = "meta.json"
SCHEMA = 2

Int64Array = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class TokenBlocks:
    """Consecutive windows of `context_length` tokens that do not overlap.

    Block i reads tokens [phase + i*T, phase + (i+1)*T) and predicts each one's successor, so a
    token is a target at most once. With `keep_tail` the last block may be short (padded, with
    targets IGNORE_INDEX), and every token but the first is a target exactly once, as evaluation
    needs. Without it (training) all blocks are full; the tokens before the first block and after
    the last, fewer than T each, are left out.

    Args:
        tokens: the split, one dimension, usually a read-only memory map.
        context_length: T, tokens per block.
        phase: tokens before the first block.
        keep_tail: whether a short last block counts.
        ignored: ids that stand between documents and are no targets; their targets are
            IGNORE_INDEX.
    """

    tokens: Tokens
    context_length: int
    phase: int = 0
    keep_tail: bool = False
    ignored: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.context_length < 1:
            raise ValueError(f"context_length: got {self.context_length}; give 1 or more")
        if self.phase < 0:
            raise ValueError(f"phase: got {self.phase}; give 0 or more")

    def __len__(self) -> int:
        num_targets = max(len(self.tokens) - 1 - self.phase, 0)
        if self.keep_tail:
            return -(-num_targets // self.context_length)
        return num_targets // self.context_length

    def batch(
        self, indices: Sequence[int] | npt.NDArray[np.integer]
    ) -> tuple[Int64Array, Int64Array]:
        """Inputs [B, T] and targets [B, T] of the blocks `indices` ([B], in that order).

        Raises:
            IndexError: an index is not in [0, len(self)).
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"block {wanted.min()}..{wanted.max()} of {len(self)} blocks")
        starts = self.phase + wanted * self.context_length
        positions = starts[:, None] + np.arange(self.context_length + 1)  # [B, T+1]
        last = len(self.tokens) - 1
        windows = self.tokens[np.minimum(positions, max(last, 0))].astype(np.int64)
        inputs, targets = windows[:, :-1], windows[:, 1:]
        if self.keep_tail:
            targets = np.where(positions[:, 1:] > last, IGNORE_INDEX, targets)
        targets = _without(targets, self.ignored)
        return np.ascontiguousarray(inputs), np.ascontiguousarray(targets)


@dataclass(frozen=True)
class TrainBlocks:
    """The train split in blocks that start elsewhere in every epoch.

    The first tokens of a block have little context; in every epoch they are other tokens. Where
    the blocks of an epoch start depends on (seed, epoch) alone: every rank, and a resumed run,
    gets the same.

    Args:
        blocks: the split at phase 0.
        seed: of the training.
    """

    blocks: TokenBlocks
    seed: int

    def __len__(self) -> int:
        """Blocks per epoch, the same for every phase."""
        latest = replace(self.blocks, phase=self.blocks.context_length - 1)
        return max(len(latest), 1)

    def batch(
        self, epoch: int, indices: Sequence[int] | npt.NDArray[np.integer]
    ) -> tuple[Int64Array, Int64Array]:
        """As `TokenBlocks.batch`, in an epoch (from 0)."""
        return replace(self.blocks, phase=self.phase(epoch)).batch(indices)

    def phase(self, epoch: int) -> int:
        """Tokens before the first block of an epoch, uniform over those that leave `len` blocks."""
        length = self.blocks.context_length
        drawn = int(np.random.default_rng([self.seed, epoch, 0x9A5E]).integers(length))
        spare = len(self.blocks.tokens) - 1 - len(self) * length
        return drawn % min(spare + 1, length)


@dataclass(frozen=True)
class BlockSubset:
    """Some of the blocks of a split, evenly spaced."""

    blocks: TokenBlocks
    chosen: Int64Array

    @classmethod
    def of(cls, blocks: TokenBlocks, count: int) -> BlockSubset:
        """`count` of the blocks, or all if there are no more."""
        count = min(count, len(blocks))
        return cls(blocks, np.arange(count, dtype=np.int64) * len(blocks) // count)

    @property
    def context_length(self) -> int:
        return self.blocks.context_length

    def __len__(self) -> int:
        return len(self.chosen)

    def batch(
        self, indices: Sequence[int] | npt.NDArray[np.integer]
    ) -> tuple[Int64Array, Int64Array]:
        """As `TokenBlocks.batch`."""
        return self.blocks.batch(self.chosen[np.asarray(indices, dtype=np.int64)])


@dataclass(frozen=True)
class SlidingWindows:
    """Overlapping windows: window i reads tokens [i*S, i*S + T), with stride S and length T.

    The first window scores all its targets, each later one its last S. So every token but the
    first is scored once, with at least T - S tokens of context (but for the first T of the split).
    With S = T the windows are the blocks. The last may be short (padded).

    Args:
        blocks: a whole split, as `Corpus.split` returns it for val or test.
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
        num_targets = max(len(self.blocks.tokens) - 1, 0)
        if num_targets == 0:
            return 0
        return 1 + -(-max(num_targets - self.context_length, 0) // self.stride)

    def batch(
        self, indices: Sequence[int] | npt.NDArray[np.integer]
    ) -> tuple[Int64Array, Int64Array]:
        """As `TokenBlocks.batch`; targets that an earlier window scored are IGNORE_INDEX."""
        wanted = np.asarray(indices, dtype=np.int64)
        tokens, last = self.blocks.tokens, len(self.blocks.tokens) - 1
        positions = wanted[:, None] * self.stride + np.arange(self.context_length + 1)  # [B, T+1]
        windows = tokens[np.minimum(positions, max(last, 0))].astype(np.int64)
        scored_before = (wanted[:, None] - 1) * self.stride + self.context_length
        old = (wanted[:, None] > 0) & (positions[:, 1:] <= scored_before)
        targets = np.where(old | (positions[:, 1:] > last), IGNORE_INDEX, windows[:, 1:])
        targets = _without(targets, self.blocks.ignored)
        return np.ascontiguousarray(windows[:, :-1]), targets


def _without(targets: Int64Array, ignored: tuple[int, ...]) -> Int64Array:
    return np.where(np.isin(targets, ignored), IGNORE_INDEX, targets) if ignored else targets


@dataclass(frozen=True)
class Corpus:
    """The tokenized splits, memory mapped: ranks of one host share the pages.

    Attributes:
        path: the folder.
        context_length: tokens per block.
        meta: the content of meta.json.
        loaded_tokenizer: the tokenizer that made the ids, where it is in memory already.
    """

    path: Path
    context_length: int
    meta: dict[str, Any]
    loaded_tokenizer: Tokenizer | None = None

    @cached_property
    def train(self) -> TokenBlocks:
        """Full blocks only."""
        return self._blocks("train", keep_tail=False)

    @cached_property
    def val(self) -> TokenBlocks:
        """Every token but the first is a target once; no blocks when there is no val split."""
        return self._blocks("val", keep_tail=True)

    @cached_property
    def test(self) -> TokenBlocks:
        """As `val`."""
        return self._blocks("test", keep_tail=True)

    def split(self, name: str) -> TokenBlocks | None:
        """Blocks of "train", "val" or "test"; None when the split is empty."""
        blocks = {"train": self.train, "val": self.val, "test": self.test}[name]
        return blocks if len(blocks) else None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids."""
        return self.loaded_tokenizer or load_tokenizer(self.path / "tokenizer")

    @property
    def num_tokens(self) -> dict[str, int]:
        """Ids of each split."""
        return {name: int(self.meta["parts"][name]["tokens"]) for name in SPLITS}

    @property
    def num_bytes(self) -> dict[str, int]:
        """UTF-8 bytes of the text that the targets of each split stand for."""
        return {name: int(self.meta["parts"][name]["target_bytes"]) for name in SPLITS}

    @property
    def num_words(self) -> dict[str, int]:
        """Words in those bytes, as `textgen.data.encode` counts them."""
        return {name: int(self.meta["parts"][name]["target_words"]) for name in SPLITS}

    def document_offsets(self, name: str) -> Int64Array:
        """Index of the first token of each document of a split, [documents]."""
        offsets: Int64Array = np.load(self.path / f"{name}.offsets.npy", allow_pickle=False)
        return offsets

    def _blocks(self, name: str, *, keep_tail: bool) -> TokenBlocks:
        dtype = np.dtype(self.meta["dtype"])
        tokens: npt.NDArray[Any]
        if self.num_tokens[name]:
            tokens = np.memmap(self.path / f"{name}.bin", dtype=dtype, mode="r")
        else:  # an empty file cannot be mapped
            tokens = np.empty(0, dtype=dtype)
        ignored = self._between_documents if keep_tail else ()
        return TokenBlocks(tokens, self.context_length, keep_tail=keep_tail, ignored=ignored)

    @property
    def _between_documents(self) -> tuple[int, ...]:
        """Ids that are not scored, where documents begin with an id of their own: no text ends
        and begins in the text that such a model is compared on."""
        about = self.meta["tokenizer"]
        start = tuple(about.get("start_ids", ()))
        return (*start, int(about["eot_id"])) if start else ()


def open_corpus(
    path: Path,
    context_length: int,
    tokenizer: Tokenizer | None = None,
    found: Mapping[str, Any] | None = None,
) -> Corpus:
    """Open what `prepare` wrote. Every rank may call; nothing is written.

    Args:
        tokenizer: the one that made the ids, if it is loaded already.
        found: what was found in the source, where it is another than the one whose documents were
            first tokenized; replaces those entries of the corpus's meta.

    Raises:
        UserError: no complete corpus there, or a split is shorter than one block.
    """
    if not is_complete(path):
        raise UserError(f"data: {path} is not a complete prepared corpus; run textgen prepare")
    meta = json.loads((path / META).read_text(encoding="utf-8")) | dict(found or {})
    corpus = Corpus(path, context_length, meta, tokenizer)
    short = [
        f"data: the {name} split has {counts['tokens']} tokens, fewer than one block of "
        f"context_length {context_length} and its last target; {_fix(name)}"
        for name, counts in corpus.meta["parts"].items()
        if counts["documents"] and counts["tokens"] < context_length + 1
    ]
    if short:
        raise UserError(*short)
    return corpus


def _fix(name: str) -> str:
    larger = "" if name == "train" else f", raise --{name}-fraction (0 for no {name} split)"
    return f"lower --context-length{larger} or give more text"


def is_complete(path: Path) -> bool:
    """Whether `path` holds a corpus of this schema whose files are as long as meta.json says."""
    try:
        meta = json.loads((path / META).read_text(encoding="utf-8"))
        if meta["schema"] != SCHEMA:
            return False
        width = np.dtype(meta["dtype"]).itemsize
        return (
            (path / "tokenizer" / "tokenizer.json").is_file()
            and all(
                (path / f"{name}.bin").stat().st_size == meta["parts"][name]["tokens"] * width
                for name in SPLITS
            )
            and damaged_file(path, meta) is None
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
