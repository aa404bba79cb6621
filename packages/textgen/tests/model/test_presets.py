"""The named sizes."""

from __future__ import annotations

import pytest

from hvdcore.errors import UserError
from textgen.model.causal_lm import build_gpt2
from textgen.model.config import PRESETS, Gpt2Shape, preset


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_is_a_model(name: str) -> None:
    assert preset(name).config(vocab_size=256).vocab_size == 256


def test_char_fits_the_budget_of_tiny_shakespeare() -> None:
    config = preset("char").config(vocab_size=257)
    assert config.num_parameters <= 800_000
    assert config.context_length == 64
    assert [config.attends(layer) for layer in range(6)] == [False, False, True] * 2


def test_gpt2_small_is_of_gpt2s_size() -> None:
    assert 120e6 < preset("gpt2-small").config(vocab_size=50257).num_parameters < 125e6


def test_changes_win_and_none_keeps() -> None:
    config = preset("1m").config(300, context_length=32, embed_dim=None, num_heads=2)
    assert (config.context_length, config.embed_dim) == (32, 128)
    assert (config.num_heads, config.num_kv_heads) == (2, 2)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UserError, match="no preset 'huge'; choose one of char, "):
        preset("huge")


@pytest.mark.parametrize("size", ["1m", "10m", "30m", "small"])
def test_gpt2_style_has_the_matrices_of_ours_of_its_size(size: str) -> None:
    """What differs is positions, biases and norms."""
    ours = preset(f"gpt2-{size}" if size == "small" else size).config(1024)
    theirs = preset(f"gpt2-style-{size}").config(1024)
    assert isinstance(theirs, Gpt2Shape)
    positions = theirs.context_length * theirs.embed_dim
    rest = theirs.num_parameters - positions
    assert rest == pytest.approx(ours.num_parameters, rel=0.015)
    assert (theirs.num_layers, theirs.embed_dim) == (ours.num_layers, ours.embed_dim)


def test_gpt2_style_small_is_gpt2() -> None:
    assert preset("gpt2-style-small").config(50257).num_parameters == 124_439_808


def test_a_gpt2_shape_is_built_as_counted() -> None:
    shape = preset("gpt2-style-1m").config(300, num_layers=2, mlp_dim=96, context_length=8)
    assert isinstance(shape, Gpt2Shape)
    model = build_gpt2(shape, end_token=7)
    assert model.num_parameters == shape.num_parameters
    assert (model.config.vocab_size, model.config.context_length) == (300, 8)
    assert model.hf.config.eos_token_id == 7


def test_what_gpt2_lacks_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        preset("gpt2-style-1m").config(300, num_kv_heads=2, conv_kernel=3)
    assert [line.split(":")[0] for line in caught.value.problems] == ["conv_kernel", "num_kv_heads"]
    with pytest.raises(UserError, match="embed_dim: got 100; give a multiple of num_heads"):
        preset("gpt2-style-1m").config(300, embed_dim=100, num_heads=3)
