"""The short convolution against values worked out by hand and `nn.Conv1d`."""

from __future__ import annotations

import torch

from textgen.model.config import ModelConfig
from textgen.model.transformer import ShortConv, causal_convolution


def test_the_last_tap_is_the_tokens_own() -> None:
    # One channel, K = 3, and two positions before the first: 1 2 | 3 4.
    inputs = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1)
    taps = torch.tensor([100.0, 10.0, 1.0]).view(1, 1, 3)
    # 100 x 1 + 10 x 2 + 3, then 100 x 2 + 10 x 3 + 4.
    assert causal_convolution(inputs, taps).flatten().tolist() == [123.0, 234.0]


def test_each_channel_has_a_filter_of_its_own() -> None:
    torch.manual_seed(0)
    inputs, taps = torch.randn(2, 9, 6), torch.randn(6, 1, 4)
    expected = torch.nn.functional.conv1d(inputs.mT, taps, groups=6).mT
    torch.testing.assert_close(causal_convolution(inputs, taps), expected)


def test_gates_by_hand() -> None:
    config = ModelConfig(4, 8, 2, 1, 1, 2, 2, attention_every=2, conv_kernel=2)
    conv = ShortConv(config, 0)
    with torch.no_grad():
        conv.in_gate_proj.weight.copy_(torch.eye(2))
        conv.value_proj.weight.copy_(torch.eye(2))
        conv.out_gate_proj.weight.copy_(2 * torch.eye(2))
        conv.o_proj.weight.copy_(torch.eye(2))
        conv.taps.copy_(torch.tensor([[[10.0, 1.0]], [[0.0, 1.0]]]))
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    # Inputs x^2: (1, 4), (9, 16). Channel 0: 1, then 10 x 1 + 9; channel 1: 4, then 16. Times 2 x.
    expected = torch.tensor([[[2.0, 16.0], [6.0 * 19, 8.0 * 16]]])
    torch.testing.assert_close(conv(x, None, 0), expected)
