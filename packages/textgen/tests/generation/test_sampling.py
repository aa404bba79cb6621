"""Sampling against distributions worked out by hand and against transformers' processors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from hvdcore.errors import UserError
from textgen.generation.sampling import (
    SamplingOptions,
    filter_logits,
    keep_top_k,
    keep_top_p,
    next_tokens,
    penalize_repetition,
    pick,
    uniform_draws,
)

# Probabilities 0.1, 0.4, 0.2, 0.3.
LOGITS = torch.tensor([[1.0, 4.0, 2.0, 3.0]]).log()


def probabilities(logits: Tensor) -> list[float]:
    return [round(value, 6) for value in logits.softmax(-1)[0].tolist()]


def test_temperature_by_hand() -> None:
    # p^2 / sum p^2 = 1, 16, 4, 9 of 30.
    halved = filter_logits(LOGITS, SamplingOptions(temperature=0.5))
    assert probabilities(halved) == pytest.approx([1 / 30, 16 / 30, 4 / 30, 9 / 30], abs=1e-6)


def test_top_k_by_hand() -> None:
    assert probabilities(keep_top_k(LOGITS, 2)) == pytest.approx([0, 4 / 7, 0, 3 / 7], abs=1e-6)
    assert probabilities(keep_top_k(LOGITS, 99)) == pytest.approx([0.1, 0.4, 0.2, 0.3], abs=1e-6)


def test_top_k_keeps_ties() -> None:
    tied = torch.tensor([[2.0, 2.0, 2.0, 1.0]])
    assert keep_top_k(tied, 2).isfinite().tolist() == [[True, True, True, False]]


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.3, [1]), (0.41, [1, 3]), (0.69, [1, 3]), (0.71, [1, 2, 3]), (1.0, [0, 1, 2, 3])],
)
def test_top_p_by_hand(top_p: float, kept: list[int]) -> None:
    nucleus = keep_top_p(LOGITS, top_p)
    assert nucleus[0].isfinite().nonzero().flatten().tolist() == kept


def test_repetition_penalty_by_hand() -> None:
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    seen = torch.tensor([[True, True, False, False]])
    assert penalize_repetition(logits, seen, 2.0).tolist() == [[1.0, -4.0, 2.0, -2.0]]


@pytest.mark.parametrize("seed", range(5))
def test_same_as_transformers(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(6, 101, generator=generator)
    context = torch.randint(101, (6, 20), generator=generator)
    seen = torch.zeros(6, 101, dtype=torch.bool).scatter_(1, context, True)

    penalized = penalize_repetition(logits, seen, 1.3)
    torch.testing.assert_close(penalized, RepetitionPenaltyLogitsProcessor(1.3)(context, logits))
    for ours, theirs in (
        (filter_logits(logits, SamplingOptions(temperature=0.7)), TemperatureLogitsWarper(0.7)),
        (keep_top_k(logits, 7), TopKLogitsWarper(7)),
        (keep_top_p(logits, 0.8), TopPLogitsWarper(0.8)),
    ):
        torch.testing.assert_close(ours, theirs(context, logits))
    chain = filter_logits(penalized, SamplingOptions(temperature=0.7, top_k=20, top_p=0.8))
    expected = logits
    for processor in (
        RepetitionPenaltyLogitsProcessor(1.3),
        TemperatureLogitsWarper(0.7),
        TopKLogitsWarper(20),
        TopPLogitsWarper(0.8),
    ):
        expected = processor(context, expected)
    torch.testing.assert_close(chain, expected)


def test_pick_inverts_the_cumulative_distribution() -> None:
    # Cumulative: 0.1, 0.5, 0.7, 1.
    uniforms = torch.tensor([0.0, 0.09, 0.11, 0.49, 0.51, 0.69, 0.71, 1 - 2**-53]).double()
    tokens = pick(LOGITS.expand(len(uniforms), -1), uniforms)
    assert tokens.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_pick_never_takes_an_impossible_token() -> None:
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, -math.inf])
    uniforms = torch.tensor([0.0, 0.5, 1 - 2**-53]).double()
    assert pick(logits.expand(3, -1), uniforms).tolist() == [1, 3, 3]


def test_sampled_frequencies_match_the_probabilities() -> None:
    uniforms = uniform_draws(seed=3, rows=[0], count=40_000)[0]
    counts = pick(LOGITS.expand(len(uniforms), -1), uniforms).bincount(minlength=4)
    frequencies = (counts / len(uniforms)).tolist()
    # Five standard deviations of a binomial at p = 0.4.
    assert frequencies == pytest.approx([0.1, 0.4, 0.2, 0.3], abs=5 * math.sqrt(0.24 / 40_000))


def test_draws_depend_on_seed_and_row_alone() -> None:
    together = uniform_draws(7, [0, 1, 2], 5)
    assert torch.equal(together[2], uniform_draws(7, [2], 5)[0])
    assert torch.equal(together[1, :3], uniform_draws(7, [1], 3)[0])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(together[0], uniform_draws(8, [0], 5)[0])


@pytest.mark.parametrize("options", [SamplingOptions(temperature=0), SamplingOptions(top_k=1)])
def test_greedy(options: SamplingOptions) -> None:
    assert next_tokens(LOGITS, options, None, None).tolist() == [1]
    seen = torch.tensor([[False, True, False, False]])
    # The logit of token 1 falls from log 4 to log(4) / 100, below log 3.
    strict = SamplingOptions(temperature=options.temperature, top_k=1, repetition_penalty=100.0)
    assert next_tokens(LOGITS, strict, seen, None).tolist() == [3]


def test_wrong_options_are_named_all_at_once() -> None:
    with pytest.raises(UserError) as caught:
        SamplingOptions(temperature=-1, top_k=0, top_p=0, repetition_penalty=0)
    fields = [line.split(":")[0] for line in caught.value.problems]
    assert fields == ["temperature", "top_k", "top_p", "repetition_penalty"]
    with pytest.raises(UserError, match="temperature: got nan"):
        SamplingOptions(temperature=math.nan)


@pytest.mark.parametrize("greedy", [True, False])
def test_logits_that_are_not_numbers_are_told(greedy: bool) -> None:
    options = SamplingOptions(0.0 if greedy else 1.0)
    bad = torch.tensor([[0.0, math.nan, 1.0]])
    with pytest.raises(UserError, match=r"^model: its logits are not numbers \(NaN\)"):
        next_tokens(bad, options, None, torch.tensor([0.5]))
    never = torch.tensor([[0.0, -math.inf, 1.0]])  # the control: a token that is never chosen
    assert next_tokens(never, options, None, torch.tensor([0.9])).tolist() == [2]
