"""The transformer against plain `transformers`, closed forms, and itself with a cache."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import (
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from hvdcore.errors import UserError
from textgen.model.transformer import ModelConfig, Transformer
from textgen.pretrained.hf_format import to_hf

TINY = ModelConfig(
    vocab_size=61,
    context_length=24,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    embed_dim=32,
    mlp_dim=40,
    rope_theta=500.0,
    norm_eps=1e-5,
)


def random_model(config: ModelConfig) -> Transformer:
    """Every weight random, the norms' and the zero-initialized ones too."""
    torch.manual_seed(1)
    model = Transformer(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def in_transformers(model: Transformer) -> torch.nn.Module:
    config = model.config
    shape = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.mlp_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
    }
    other: torch.nn.Module
    if config.num_conv_layers:
        # Written out by hand, not by hf_config, for the two layers of TINY.
        shape |= {"layer_types": ["conv", "full_attention"], "conv_L_cache": config.conv_kernel}
        shape |= {"norm_eps": config.norm_eps, "block_auto_adjust_ff_dim": False}
        other = Lfm2ForCausalLM(Lfm2Config(**shape))
    elif config.qk_norm:
        other = Qwen3ForCausalLM(Qwen3Config(**shape))
    else:
        other = LlamaForCausalLM(LlamaConfig(**shape))
    other.load_state_dict(to_hf(model.state_dict(), config), strict=True)
    return other.eval()


@pytest.mark.parametrize("qk_norm", [False, True], ids=["llama", "qwen3"])
@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("tie_embeddings", [False, True], ids=["untied", "tied"])
@torch.no_grad()
def test_logits_equal_those_of_transformers(
    qk_norm: bool, num_kv_heads: int, tie_embeddings: bool
) -> None:
    model = random_model(
        replace(TINY, qk_norm=qk_norm, num_kv_heads=num_kv_heads, tie_embeddings=tie_embeddings)
    )
    tokens = torch.randint(61, (3, 24))
    logits = model(tokens)
    torch.testing.assert_close(in_transformers(model)(tokens).logits, logits, atol=1e-4, rtol=1e-4)
    # The control: the same weights under another rotary base give other logits.
    other = Transformer(replace(model.config, rope_theta=400.0))
    other.load_state_dict(model.state_dict())
    assert (other(tokens) - logits).abs().max() > 1e-2


@pytest.mark.parametrize("conv_kernel", [1, 3, 5])
@torch.no_grad()
def test_logits_with_short_convolutions_equal_those_of_transformers(conv_kernel: int) -> None:
    model = random_model(replace(TINY, attention_every=2, conv_kernel=conv_kernel))
    tokens = torch.randint(61, (3, 24))
    logits = model(tokens)
    torch.testing.assert_close(in_transformers(model)(tokens).logits, logits, atol=1e-4, rtol=1e-4)
    # The control: the filters turned round give other logits.
    taps = model.model.layers[0].conv.taps
    taps.copy_(taps.flip(-1) if conv_kernel > 1 else -taps)
    assert (model(tokens) - logits).abs().max() > 1e-2


def test_attention_is_counted_from_the_last_layer() -> None:
    config = replace(TINY, num_layers=5, attention_every=2)
    assert [config.attends(layer) for layer in range(5)] == [True, False, True, False, True]
    assert (config.num_attention_layers, config.num_conv_layers) == (3, 2)
    config = replace(TINY, num_layers=6, attention_every=3)
    assert [config.attends(layer) for layer in range(6)] == [False, False, True] * 2
    assert replace(TINY, num_layers=1, attention_every=3).num_conv_layers == 0


def test_num_parameters_with_short_convolutions_is_exact() -> None:
    config = replace(TINY, attention_every=2, conv_kernel=4)
    # As below, but the first layer's mixer is four of 32 x 32 and 4 taps for each of 32 channels.
    attention, convolution = 2 * 1024 + 2 * 512 + 16, 4 * 1024 + 128
    expected = 1952 + attention + convolution + 2 * (3 * 1280 + 64) + 32
    assert config.num_parameters == Transformer(config).num_parameters == expected


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_num_parameters_is_exact(qk_norm: bool, tie_embeddings: bool) -> None:
    config = replace(TINY, qk_norm=qk_norm, tie_embeddings=tie_embeddings)
    # Embedding 61 x 32; a layer: q, o 32 x 32, k, v 16 x 32, three of 40 x 32, norms 2 x 32
    # (and 2 x 8 on heads); a last norm of 32.
    layer = 2 * 1024 + 2 * 512 + 3 * 1280 + 64 + (16 if qk_norm else 0)
    expected = (1 if tie_embeddings else 2) * 1952 + 2 * layer + 32
    assert config.num_parameters == Transformer(config).num_parameters == expected


def test_loss_of_uniform_logits_is_the_log_of_the_vocabulary() -> None:
    model = Transformer(TINY)
    torch.nn.init.zeros_(model.lm_head.weight)
    tokens, targets = torch.randint(61, (2, 5, 24))
    targets[0, 7:] = -100
    assert model.loss(tokens, targets).item() == pytest.approx((5 * 24 - 17) * math.log(61))
    assert model.loss(tokens, targets, "mean").item() == pytest.approx(math.log(61))
    assert model.loss(tokens, targets, "none").shape == (120,)


@pytest.mark.parametrize(("temperature", "probability"), [(1.0, 3 / 4), (0.5, 9 / 10)])
def test_temperature_divides_the_logits_of_the_loss(
    monkeypatch: pytest.MonkeyPatch, temperature: float, probability: float
) -> None:
    """Logits ln 3 and 0 are odds of 3 to 1; at half the temperature, of 9 to 1."""
    logits = torch.tensor([math.log(3.0), 0.0])
    monkeypatch.setattr(Transformer, "forward", lambda _, tokens: logits.expand(*tokens.shape, 2))
    tokens = torch.zeros(2, 4, dtype=torch.int64)
    loss = Transformer(TINY).loss(tokens, tokens, "mean", temperature)
    assert loss.item() == pytest.approx(-math.log(probability))


@pytest.mark.parametrize("attention_every", [1, 2])
@torch.no_grad()
def test_a_token_changes_nothing_before_it(attention_every: int) -> None:
    model = random_model(replace(TINY, attention_every=attention_every))
    tokens = torch.randint(61, (1, 24))
    changed = tokens.clone()
    changed[0, 10] = (tokens[0, 10] + 1) % 61
    difference = (model(tokens) - model(changed)).abs().amax(-1)[0]
    assert difference[:10].max() == 0
    assert difference[10:].min() > 1e-3


class ListCache:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.inputs: dict[int, Tensor] = {}

    def update(self, layer: int, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        if start:
            old_keys, old_values = self.layers[layer]
            assert old_keys.shape[2] == start
            keys = torch.cat((old_keys, keys), 2)
            values = torch.cat((old_values, values), 2)
        self.layers[layer] = (keys, values)
        return keys, values

    def extend(self, layer: int, inputs: Tensor, start: int) -> Tensor:
        if start:
            inputs = torch.cat((self.inputs[layer], inputs), 1)
        self.inputs[layer] = inputs
        return inputs


@pytest.mark.parametrize("attention_every", [1, 2])
@torch.no_grad()
def test_chunks_with_a_cache_match_one_forward_pass(attention_every: int) -> None:
    model = random_model(replace(TINY, attention_every=attention_every, conv_kernel=4))
    tokens = torch.randint(61, (2, 24))
    cache = ListCache()
    chunks = [
        model(tokens[:, start:stop], cache, start)
        for start, stop in [(0, 5), (5, 6), (6, 15), (15, 16), (16, 24)]
    ]
    torch.testing.assert_close(torch.cat(chunks, 1), model(tokens), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_left_padded_row_needs_only_its_mask() -> None:
    model = random_model(TINY)
    tokens = torch.randint(61, (1, 10))
    padded = torch.cat((torch.zeros(1, 4, dtype=torch.long), tokens), 1)
    mask = torch.ones(14, 14, dtype=torch.bool).tril()
    mask[:, :4] = torch.eye(14, dtype=torch.bool)[:, :4]
    torch.testing.assert_close(model(padded, mask=mask)[:, 4:], model(tokens), atol=1e-4, rtol=1e-4)
    assert (model(padded)[:, 4:] - model(tokens)).abs().max() > 1e-2


def test_initial_model_is_nearly_uniform() -> None:
    torch.manual_seed(0)
    model = Transformer(replace(TINY, vocab_size=256))
    tokens, targets = torch.randint(256, (2, 64, 24))
    assert model.loss(tokens, targets, "mean").item() == pytest.approx(math.log(256), abs=0.05)


def test_every_problem_of_a_shape_is_named() -> None:
    with pytest.raises(UserError) as caught:
        replace(TINY, num_kv_heads=3, embed_dim=36)
    assert [problem.split()[0] for problem in caught.value.problems] == [
        "num_heads",
        "embed_dim",
    ]
    with pytest.raises(UserError, match="num_layers must be at least 1, not 0"):
        replace(TINY, num_layers=0)
    with pytest.raises(UserError, match=r"attention_every \(2\) must be 1 without qk_norm"):
        replace(TINY, qk_norm=False, attention_every=2)
