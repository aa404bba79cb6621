"""The exact loss of a model over a whole split, on all ranks: every token is a target once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch

from hvdcore.metrics.metrics import Totals, bits_per_byte, perplexity
from hvdcore.runtime.heartbeat import beat
from hvdcore.sharding import eval_range
from hvdcore.torch import allreduce_sum
from textgen.model.config import IGNORE_INDEX
from textgen.model.language_model import LanguageModel, rows_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from hvdcore.runtime.world import World


class Windows(Protocol):
    """What is scored: `TokenBlocks`, a `BlockSubset`, or `SlidingWindows`."""

    @property
    def context_length(self) -> int: ...

    def __len__(self) -> int: ...

    def batch(self, indices: range) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Tokens and targets [len(indices), T]; targets of -100 are ignored."""
        ...


@dataclass(frozen=True)
class Score:
    """The negative log-likelihood of a split, in nats, and the counts to normalize it by."""

    nll_sum: float
    num_tokens: int
    """Tokens that were targets."""
    num_bytes: int
    """UTF-8 bytes of those tokens."""
    num_words: int = 0
    """Words in those bytes (`textgen.data.encode`); 0 where they were not counted."""

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood per token, in nats."""
        return self.nll_sum / self.num_tokens

    def to_json(self) -> dict[str, float | int]:
        """The values in ``report.json``: loss in nats per token, perplexity, bits per byte, and
        perplexity per word where words were counted."""
        values = {
            "loss": self.loss,
            "perplexity": perplexity(self.nll_sum, self.num_tokens),
            "bits_per_byte": bits_per_byte(self.nll_sum, self.num_bytes),
            "num_tokens": self.num_tokens,
            "num_bytes": self.num_bytes,
        }
        if self.num_words:
            values["word_perplexity"] = perplexity(self.nll_sum, self.num_words)
            values["num_words"] = self.num_words
        return values


@torch.inference_mode()
def evaluate(
    model: LanguageModel,
    windows: Windows,
    world: World,
    *,
    batch_size: int,
    num_bytes: int,
    num_words: int = 0,
    device: torch.device | None = None,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Score:
    """The model's score on all of ``windows``. Every rank must call; every rank gets the same.

    Each rank takes a contiguous share of the windows, possibly one less than another rank, or
    none. Sums and counts are added over the ranks in float64.

    Args:
        batch_size: windows per forward pass of a rank; the result does not depend on it beyond
            float32 rounding.
        num_bytes, num_words: of the text of all targets.
        on_batch: called with the number of windows that this rank has just scored.
    """
    model.eval()
    totals = Totals("nll")
    share = eval_range(len(windows), world.rank, world.size)
    batch_size = rows_at_once(model, windows.context_length, batch_size)
    for start in range(share.start, share.stop, batch_size):
        beat("evaluate")
        indices = range(start, min(start + batch_size, share.stop))
        tokens, targets = (torch.from_numpy(array).to(device) for array in windows.batch(indices))
        # Per token, then summed in float64: float32 sums over a long split lose digits.
        losses = model.loss(tokens, targets, reduction="none")
        totals.add("nll", losses.double().sum().item(), int((targets != IGNORE_INDEX).sum()))
        on_batch(len(indices))
    totals.reduce(allreduce_sum)
    model.train()
    return Score(totals.sum("nll"), int(totals.count("nll")), num_bytes, num_words)
