"""Owns sliding windows over a part: each moves by a stride; what is new in it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from textgen.data.blocks import IGNORE, Int64Array, TokenBlocks

__all__ = ["SlidingWindows"]


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
