"""The printed figures, against answers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import hvdcore.torch
from textgen.data.corpus import BlockSubset, TokenBlocks
from textgen.evaluation.evaluate import Score, evaluate
from textgen.model.config import preset
from textgen.model.transformer import Transformer


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    shape = {"num_layers": 1, "num_heads": 2, "embed_dim": 16, "mlp_dim": 16}
    return Transformer(preset("char").config(256, context_length=8, **shape))


def blocks(num_tokens: int) -> TokenBlocks:
    tokens = np.random.default_rng(0).integers(1, 256, num_tokens).astype(np.uint16)
    return TokenBlocks(tokens, 8, keep_tail=True)


def test_a_model_that_knows_nothing_needs_eight_bits_a_byte(model: Transformer) -> None:
    uniform = Transformer(model.config)
    torch.nn.init.zeros_(uniform.model.embed_tokens.weight)  # all logits are 0
    score = evaluate(uniform, blocks(100), hvdcore.torch.init(), batch_size=4, num_bytes=99)
    assert score.num_tokens == 99
    assert score.loss == pytest.approx(math.log(256), rel=1e-6)
    assert score.to_json()["perplexity"] == pytest.approx(256, rel=1e-5)
    assert score.to_json()["bits_per_byte"] == pytest.approx(8, rel=1e-6)


def test_the_batch_size_does_not_matter(model: Transformer) -> None:
    world = hvdcore.torch.init()
    scores = [
        evaluate(model, blocks(100), world, batch_size=size, num_bytes=99) for size in (1, 5, 64)
    ]
    assert scores[0].nll_sum == pytest.approx(scores[1].nll_sum, rel=1e-6)
    assert scores[0].nll_sum == pytest.approx(scores[2].nll_sum, rel=1e-6)
    assert {score.num_tokens for score in scores} == {99}


def test_evaluation_equals_a_loop_over_windows(model: Transformer) -> None:
    split = blocks(30)
    nll = 0.0
    with torch.inference_mode():
        for start in range(0, 29, 8):
            window = torch.from_numpy(split.tokens[start : start + 9].astype(np.int64))
            logits = model(window[None, :-1])[0].double()
            nll -= logits.log_softmax(-1).gather(1, window[1:, None]).sum().item()
    score = evaluate(model, split, hvdcore.torch.init(), batch_size=2, num_bytes=29)
    assert score.nll_sum == pytest.approx(nll, rel=1e-6)


def test_score_by_hand() -> None:
    values = Score(nll_sum=8 * math.log(2), num_tokens=4, num_bytes=2).to_json()
    assert values["loss"] == pytest.approx(2 * math.log(2))
    assert values["perplexity"] == pytest.approx(4)
    assert values["bits_per_byte"] == pytest.approx(4)


def test_a_sample_of_a_split_is_evenly_spaced() -> None:
    split = blocks(81)  # ten blocks
    sample = BlockSubset.of(split, 4)
    assert sample.chosen.tolist() == [0, 2, 5, 7]
    assert (sample.batch(range(1, 3))[0] == split.batch([2, 5])[0]).all()
    assert len(BlockSubset.of(split, 99)) == 10
