"""The named sizes."""

from __future__ import annotations

import pytest

from hvdcore.errors import UserError
from textgen.presets import PRESETS, preset


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
