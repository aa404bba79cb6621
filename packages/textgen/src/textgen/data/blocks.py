"""Owns the cut of a token stream into the blocks that the model is trained and evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["IGNORE", "TokenBlocks", "phase_of_epoch"]

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
