"""The model at step 0: freshly drawn, or with the weights of a run, a folder or the hub."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hvdcore.errors import UserError
from textgen.model.causal_lm import CausalLM, build_gpt2
from textgen.model.config import Gpt2Shape, ModelConfig, preset
from textgen.model.cost import check_memory
from textgen.model.language_model import LanguageModel
from textgen.model.transformer import Transformer
from textgen.pretrained.load import ModelPlace, load_place, place_on_all_ranks
from textgen.tokenizer.load import load_tokenizer
from textgen.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.config import TrainConfig

__all__ = ["model_config", "starting_model", "starting_place", "starting_tokenizer"]


def starting_place(config: TrainConfig, world: World) -> ModelPlace | None:
    """Where ``init_from`` lies on this machine, fetched if it is on the hub. Every rank must call.

    Raises:
        UserError: there is no such model, or the hub fails.
    """
    if config.init_from is None:
        return None
    try:
        return place_on_all_ranks(config.init_from, world)
    except UserError as error:
        raise UserError(*(f"init_from: {problem}" for problem in error.problems)) from error


def starting_tokenizer(config: TrainConfig, place: ModelPlace | None) -> str | None:
    """What to tokenize with: the tokenizer of ``init_from``, unless another is asked for."""
    return None if place is None or config.tokenizer else str(place.folder)


def starting_model(
    config: TrainConfig, tokenizer: Tokenizer, world: World, place: ModelPlace | None
) -> LanguageModel:
    """The model that training starts from, on the CPU.

    Raises:
        UserError: the shape cannot be or does not fit this machine, or ``init_from`` is no model
            for this tokenizer and context.
    """
    if place is None:
        shape = model_config(config, tokenizer.vocab_size)
        check_memory(shape.num_parameters, world.local_size)
        if isinstance(shape, Gpt2Shape):
            return build_gpt2(shape, tokenizer.eot_id)
        return Transformer(shape)
    if load_tokenizer(place.folder).sha256 != tokenizer.sha256:
        raise UserError(
            f"tokenizer: {config.tokenizer} is not the one that {place.name} was trained with; "
            "leave --tokenizer out with --init-from"
        )
    # LoRA's library knows the modules of transformers, which has an architecture for ours too.
    model = load_place(place, adapt=config.lora_rank is not None).model
    if isinstance(model, Transformer):
        return _with_context(model, config.context_length)
    assert isinstance(model, CausalLM)
    if config.context_length > model.config.context_length:
        raise UserError(
            f"context_length: got {config.context_length}; {place.name} sees "
            f"{model.config.context_length} tokens at most"
        )
    if config.lora_rank is not None:
        from textgen.model.causal_lm import add_lora

        add_lora(model, config, place.name)
    return model


def model_config(config: TrainConfig, vocab_size: int) -> ModelConfig | Gpt2Shape:
    """The preset with what the configuration changes in it.

    Raises:
        UserError: no such preset, or the changes do not make a model.
    """
    return preset(config.model).config(
        vocab_size,
        context_length=config.context_length,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        embed_dim=config.embed_dim,
        mlp_dim=config.mlp_dim,
        attention_every=config.attention_every,
        conv_kernel=config.conv_kernel,
    )


def _with_context(loaded: Transformer, context_length: int) -> Transformer:
    """The same weights for another context: positions are rotations, which need no weights."""
    model = Transformer(replace(loaded.config, context_length=context_length))
    model.load_state_dict(loaded.state_dict())
    return model
