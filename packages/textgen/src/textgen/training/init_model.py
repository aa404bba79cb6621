"""The model at step 0: newly initialized, or with the weights of a run, a folder or the hub."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hvdcore.errors import UserError
from textgen.model.causal_lm import CausalLM, add_lora, build_gpt2
from textgen.model.config import Gpt2Shape, ModelConfig, preset
from textgen.model.cost import check_memory
from textgen.model.language_model import LanguageModel
from textgen.model.transformer import Transformer
from textgen.pretrained.load import ResolvedModel, resolve_distributed

if TYPE_CHECKING:
    from hvdcore.runtime.world import World
    from textgen.config import TrainConfig
    from textgen.tokenizer.tokenizer import Tokenizer

__all__ = ["build_model", "build_pretrained", "model_config", "resolve_init_from"]


def resolve_init_from(config: TrainConfig, world: World) -> ResolvedModel | None:
    """The model of ``init_from``, downloaded if it is on the hub; None without ``init_from``.

    Every rank must call.

    Raises:
        UserError: there is no such model, or the hub fails.
    """
    if config.init_from is None:
        return None
    try:
        return resolve_distributed(config.init_from, world)
    except UserError as error:
        raise UserError(*(f"init_from: {problem}" for problem in error.problems)) from error


def build_model(
    config: TrainConfig, tokenizer: Tokenizer, world: World, init_from: ResolvedModel | None
) -> LanguageModel:
    """The model that training starts from, on the CPU.

    Args:
        tokenizer: of the corpus.
        init_from: the model whose weights it starts from; None initializes a new one.

    Raises:
        UserError: the shape is not valid or does not fit this machine, or ``init_from`` does not
            fit the tokenizer or the context length.
    """
    if init_from is not None:
        return build_pretrained(config, tokenizer, init_from)
    shape = model_config(config, tokenizer.vocab_size)
    check_memory(shape.num_parameters, world.local_size)
    if isinstance(shape, Gpt2Shape):
        return build_gpt2(shape, tokenizer.eot_id)
    return Transformer(shape)


def model_config(config: TrainConfig, vocab_size: int) -> ModelConfig | Gpt2Shape:
    """The preset with the changes of the configuration.

    Raises:
        UserError: no such preset, or the shape is not valid.
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


def build_pretrained(
    config: TrainConfig, tokenizer: Tokenizer, init_from: ResolvedModel
) -> LanguageModel:
    """The model that ``init_from`` is, with the context length and LoRA of the configuration.

    Raises:
        UserError: it does not fit the tokenizer or the context length.
    """
    if init_from.tokenizer.sha256 != tokenizer.sha256:
        raise UserError(
            f"tokenizer: {config.tokenizer} is not the one that {init_from.name} was trained with; "
            "leave --tokenizer out with --init-from"
        )
    if config.lora_rank is not None:
        # peft knows the modules of transformers, which has the architecture of ours too.
        model: LanguageModel = init_from.load_causal_lm()
    else:
        model = init_from.load().model
    if isinstance(model, Transformer):
        return _with_context(model, config.context_length)
    assert isinstance(model, CausalLM)
    if config.context_length > model.config.context_length:
        raise UserError(
            f"context_length: {config.context_length} ({_how_given(config)}) is more than the "
            f"{model.config.context_length} tokens that {init_from.name} sees; give "
            f"--context-length {model.config.context_length} or less"
        )
    if config.lora_rank is not None:
        add_lora(model, config, init_from.name)
    return model


def _how_given(config: TrainConfig) -> str:
    return "as given" if "context_length" in config.model_fields_set else "the default"


def _with_context(loaded: Transformer, context_length: int) -> Transformer:
    """The same weights for another context length: rotary positions have no weights."""
    model = Transformer(replace(loaded.config, context_length=context_length))
    model.load_state_dict(loaded.state_dict())
    return model
