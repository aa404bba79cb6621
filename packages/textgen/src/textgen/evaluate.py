"""Exact loss over a whole part, on all ranks: each token is a target once, whatever the size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hvdcore.heartbeat import beat
from hvdcore.metrics import Totals, bits_per_byte, perplexity
from hvdcore.sharding import eval_range
from hvdcore.torch import allreduce_sum
from textgen.blocks import TokenBlocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from hvdcore.world import World
    from textgen.model import Transformer


@dataclass(frozen=True)
class Score:
    """The negative log-likelihood of a part, in nats, and what it is divided by."""

    nll_sum: float
    num_tokens: int
    """Tokens that were predicted."""
    num_bytes: int
    """Bytes of UTF-8 that those tokens stand for."""

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood of a token, in nats."""
        return self.nll_sum / self.num_tokens

    def to_json(self) -> dict[str, float | int]:
        """The figures of ``report.json``: loss in nats a token, perplexity, bits per byte."""
        return {
            "loss": self.loss,
            "perplexity": perplexity(self.nll_sum, self.num_tokens),
            "bits_per_byte": bits_per_byte(self.nll_sum, self.num_bytes),
            "num_tokens": self.num_tokens,
            "num_bytes": self.num_bytes,
        }


@torch.inference_mode()
def evaluate(
    model: Transformer,
    blocks: TokenBlocks,
    world: World,
    *,
    batch_size: int,
    num_bytes: int,
    device: torch.device | None = None,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Score:
    """The model's score on all of ``blocks``. Every rank must call; every rank gets the same.

    Each rank takes a contiguous share of the blocks, so a rank may have one block less than
    another, or none. Sums and counts are added up over the ranks in float64.

    Args:
        batch_size: blocks that a rank computes at once; the result does not depend on it beyond
            float32 rounding.
        num_bytes: bytes that the part's targets stand for.
        on_batch: told how many blocks this rank has just done.
    """
    model.eval()
    totals = Totals("nll")
    share = eval_range(len(blocks), world.rank, world.size)
    for start in range(share.start, share.stop, batch_size):
        beat("evaluate")
        indices = range(start, min(start + batch_size, share.stop))
        tokens, targets = (torch.from_numpy(part).to(device) for part in blocks.batch(indices))
        # Per token, then added up in float64: float32 sums over a long part lose digits.
        losses = model.loss(tokens, targets, reduction="none")
        totals.add("nll", losses.double().sum().item(), int((targets != -100).sum()))
        on_batch(len(indices))
    totals.reduce(allreduce_sum)
    model.train()
    return Score(totals.sum("nll"), int(totals.count("nll")), num_bytes)
