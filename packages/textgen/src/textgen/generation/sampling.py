"""Choosing the next token from logits: pure functions on [B, V], and their options.

The filters equal the logits processors of `transformers` of the same names, in the same order:
repetition penalty, temperature, top-k, top-p. Filtered logits are -inf.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hvdcore.errors import Problems, UserError

_SEED_STRIDE = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads consecutive rows over the seeds


@dataclass(frozen=True)
class SamplingOptions:
    """How the next token is chosen; the defaults sample from the model's own distribution."""

    temperature: float = 1.0
    """Logits are divided by it; 0 is greedy."""
    top_k: int | None = None
    """Keep the k most probable tokens (and ties of the last); None keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of most probable tokens with at least this total probability."""
    repetition_penalty: float = 1.0
    """Above 1, tokens of the prompt and of the text so far become less probable."""
    seed: int = 0
    """The same seed gives the same text, whatever else is in the batch."""

    def __post_init__(self) -> None:
        problems = Problems()
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            problems.add("temperature", f"got {self.temperature}; give 0 (greedy) or more")
        if self.top_k is not None and self.top_k < 1:
            problems.add("top_k", f"got {self.top_k}; give 1 or more, or leave it out")
        if not 0 < self.top_p <= 1:
            problems.add("top_p", f"got {self.top_p}; give more than 0 and at most 1")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            problems.add(
                "repetition_penalty", f"got {self.repetition_penalty}; give more than 0 (1 is none)"
            )
        problems.raise_if_any()

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divide positive logits of seen tokens by `penalty`, multiply negative ones (Keskar et al.
    2019, CTRL, eq. in section 4.1; the sign rule as in `transformers`).

    Args:
        logits: [B, V].
        seen: [B, V] of bool, True for tokens of the prompt and of the text so far.
    """
    penalized = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, penalized, logits)


def keep_top_k(logits: Tensor, top_k: int) -> Tensor:
    """-inf below the k-th largest logit of each row (Fan et al. 2018); ties with it are kept."""
    smallest_kept = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[..., -1:]
    return logits.masked_fill(logits < smallest_kept, -math.inf)


def keep_top_p(logits: Tensor, top_p: float) -> Tensor:
    """-inf outside the nucleus: the smallest set of most probable tokens whose probabilities sum
    to at least `top_p` (Holtzman et al. 2020, eq. 2); never empty."""
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    outside = before >= top_p
    outside[..., 0] = False
    return logits.masked_fill(outside.scatter(-1, order, outside), -math.inf)


def filter_logits(logits: Tensor, options: SamplingOptions) -> Tensor:
    """Temperature, top-k and top-p, in this order, on logits [B, V] of float."""
    if options.temperature != 1.0:
        logits = logits / options.temperature
    if options.top_k is not None:
        logits = keep_top_k(logits, options.top_k)
    if options.top_p < 1.0:
        logits = keep_top_p(logits, options.top_p)
    return logits


def uniform_draws(seed: int, rows: list[int], count: int) -> Tensor:
    """`count` numbers in [0, 1) for each row: [len(rows), count] of float64.

    The numbers of a row depend on (seed, row) alone, so its text does not depend on the batch.
    """
    draws = torch.empty(len(rows), count, dtype=torch.float64)
    for target, row in zip(draws, rows, strict=True):
        generator = torch.Generator().manual_seed((seed + row * _SEED_STRIDE) % 2**63)
        torch.rand(count, dtype=torch.float64, generator=generator, out=target)
    return draws


def pick(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Invert the cumulative distribution of softmax(logits) [B, V] at `uniforms` [B]: tokens [B].

    A token of probability 0 is never picked.
    """
    cumulative = logits.double().softmax(dim=-1).cumsum(dim=-1)
    total = cumulative[:, -1:]
    # Rounding may lift uniform x total to the total itself, past the last possible token.
    target = torch.minimum(uniforms[:, None] * total, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target, right=True)[:, 0]


def next_tokens(
    logits: Tensor, options: SamplingOptions, seen: Tensor | None, uniforms: Tensor | None
) -> Tensor:
    """Tokens [B] for logits [B, V]: all filters, then the choice.

    Args:
        seen: [B, V] of bool; needed for a repetition penalty.
        uniforms: [B]; needed unless `options.greedy`.

    Raises:
        UserError: the logits are not finite; -inf, a token that is never chosen, may be.
    """
    if bool(logits.sum().isnan()):
        raise UserError(
            "model: its logits are not numbers (NaN); its weights are damaged, or its training "
            "diverged; give an earlier checkpoint or another model"
        )
    if seen is not None and options.repetition_penalty != 1.0:
        logits = penalize_repetition(logits, seen, options.repetition_penalty)
    if options.greedy:
        return logits.argmax(dim=-1)
    assert uniforms is not None, "sampling needs uniform draws"
    return pick(filter_logits(logits, options), uniforms)
