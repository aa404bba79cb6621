"""Norm and rotary positions against values worked out by hand."""

from __future__ import annotations

import math

import torch

from textgen.model.transformer import RMSNorm, apply_rotary, causal_mask, rotary_tables


def test_rms_norm_by_hand() -> None:
    norm = RMSNorm(2, eps=0.5)
    norm.weight.data = torch.tensor([1.0, 3.0])
    # mean of squares of (3, 4) is 12.5; with eps 13: (3 / sqrt 13, 3 x 4 / sqrt 13)
    expected = torch.tensor([3 / math.sqrt(13), 12 / math.sqrt(13)])
    torch.testing.assert_close(norm(torch.tensor([3.0, 4.0])), expected)


def test_rotary_pairs_a_dimension_with_the_one_half_a_head_away() -> None:
    # head_dim 4, theta 100: frequencies 1 and 100^(-2/4) = 0.1
    cos, sin = rotary_tables(length=3, head_dim=4, theta=100.0)
    rotated = apply_rotary(torch.tensor([[0.0] * 4, [0.0] * 4, [1.0, 0.0, 0.0, 2.0]]), cos, sin)
    expected = [math.cos(2.0), -2 * math.sin(0.2), math.sin(2.0), 2 * math.cos(0.2)]
    torch.testing.assert_close(rotated[2], torch.tensor(expected))


def test_rotated_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 8)
    cos, sin = rotary_tables(length=32, head_dim=8, theta=50.0)
    queries = apply_rotary(query.expand(32, 8), cos, sin)
    keys = apply_rotary(key.expand(32, 8), cos, sin)
    products = queries @ keys.T
    for distance in (0, 1, 7, -5):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert not torch.isclose(products[0, 1], products[0, 7])


def test_causal_mask_by_hand() -> None:
    expected = torch.tensor([[True, True, True, False], [True, True, True, True]])
    assert torch.equal(causal_mask(2, 2, torch.device("cpu")), expected)
