"""The count of a model's arithmetic: by hand, and against PyTorch's counter of what really runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hvdcore.torch import PeakFlops
from textgen.model.causal_lm import CausalLM
from textgen.model.cost import (
    Utilization,
    counted_flops_per_token,
    forward_flops_per_token,
    train_flops,
    train_flops_per_token,
)
from textgen.model.transformer import ModelConfig, Transformer

ATTENTION = ModelConfig(
    vocab_size=50, context_length=8, num_layers=2, num_heads=4, num_kv_heads=2, embed_dim=16,
    mlp_dim=24,
)  # fmt: skip
CONVOLUTIONS = replace(ATTENTION, num_layers=3, attention_every=3, conv_kernel=3)


def test_forward_flops_by_hand() -> None:
    # A layer: q and o 2 * 16 * 16 each, k and v 2 * 16 * 8 each, scores and values 2 * 8 * 16
    # each, three products with 24 of 2 * 16 * 24. The logits: 2 * 16 * 50.
    layer = 2 * 512 + 2 * 256 + 2 * 256 + 3 * 768
    assert forward_flops_per_token(ATTENTION, 8) == 2 * layer + 1600 == 10304
    assert train_flops_per_token(ATTENTION, 8) == 30912
    # Half the length halves scores and values alone.
    assert forward_flops_per_token(ATTENTION, 4) == 10304 - 2 * 256
    # A convolution: four products of 2 * 16 * 16, three taps for each of 16 channels.
    convolution = 4 * 512 + 2 * 3 * 16 + 3 * 768
    assert forward_flops_per_token(CONVOLUTIONS, 8) == layer + 2 * convolution + 1600


@pytest.mark.parametrize("config", [ATTENTION, CONVOLUTIONS])
def test_flops_are_those_that_run(config: ModelConfig) -> None:
    model = Transformer(config)
    tokens = torch.randint(config.vocab_size, (3, 9))
    forward, backward = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH):  # the counter does not know the processor's own kernel
        with forward:
            loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        with backward:
            loss.backward()
    # PyTorch counts products alone, and the taps are sums of whole tensors.
    taps = 2 * config.conv_kernel * config.embed_dim * config.num_conv_layers
    products = forward_flops_per_token(config, 8) - taps
    assert forward.get_total_flops() == 3 * 8 * products
    assert backward.get_total_flops() == 2 * 3 * 8 * products
    assert train_flops_per_token(config, 8) == 3 * (products + taps)


def test_the_counted_flops_are_those_of_the_closed_form() -> None:
    assert counted_flops_per_token(Transformer(ATTENTION), 8) == 30912
    longer = replace(ATTENTION, context_length=300)
    assert counted_flops_per_token(Transformer(longer), 300) == train_flops_per_token(longer, 300)


def test_the_flops_of_gpt2_by_hand() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=50, n_positions=64, n_embd=16, n_layer=2, n_head=4)
    model = CausalLM(GPT2LMHeadModel(config))
    layer = 2 * (4 * 16 * 16 + 2 * 4 * 16 * 16) + 2 * 2 * 64 * 16
    assert train_flops(model, 64) == 3 * (2 * layer + 2 * 16 * 50)
    # Frozen weights need no gradients of their own: a third of their products is spared, and with
    # all but the last norm frozen there is nothing on the way back but the logits.
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("ln_f" in name)
    assert train_flops(model, 64) == 2 * layer + 2 * 2 * 16 * 50


def test_utilization_by_hand() -> None:
    utilization = Utilization(1000, PeakFlops(4e6, "a data sheet"))
    assert utilization.of(500.0) == 0.125
    assert utilization.to_json(500.0)["model_flop_utilization"] == 0.125
    assert utilization.to_json(None)["model_flop_utilization"] is None
