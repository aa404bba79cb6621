"""Any causal language model of `transformers`, behind the interface of our own.

Low-rank adapters beside frozen weights (Hu et al. 2021, LoRA), by the library `peft`.

The architecture of GPT-2, for comparing ours with it: learned positions, LayerNorm, GELU, biases
(Radford et al. 2019). Its layers are those of `transformers`. Loads no framework until it is built.

Owns silencing `transformers`: what its warnings tell is checked, and said in one line.
"""

from __future__ import annotations

import copy
import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hvdcore.errors import UserError
from hvdcore.torch import weights_sha256
from textgen.model.config import Gpt2Shape, LoraFields
from textgen.model.language_model import LanguageModel

__all__ = [
    "CausalLM",
    "CausalLMConfig",
    "LoraAdapter",
    "add_lora",
    "build_gpt2",
    "check_peft",
    "new_cache",
    "quiet_transformers",
]

_UNBOUNDED_CONTEXT = 2048
"""Tokens that a model is given at most which itself knows no bound."""


@dataclass(frozen=True)
class CausalLMConfig:
    """What is known of an adapted model; its config.json holds the rest."""

    model_type: str
    """The architecture, by transformers' name."""
    vocab_size: int
    """Rows of its embedding: often more than its tokenizer has tokens."""
    context_length: int
    """The most tokens that it can attend to."""
    num_parameters: int
    lora: dict[str, Any] | None = None
    """Rank, alpha and targets of its adapters, if it has some."""
    frozen_sha256: str | None = None
    """Hash of the weights beside the adapters, which a checkpoint does not hold."""


class CausalLM(LanguageModel):
    """A model of `transformers`; computes in float32 and without dropout.

    Dropout draws differ from rank to rank: without it, N ranks train the same model as one.

    Args:
        hf: a `PreTrainedModel` with a language modelling head, its weights in place.

    Attributes:
        adapter: its LoRA adapters, if `add_lora` gave it some; the rest is then frozen.
    """

    config: CausalLMConfig
    adapter: LoraAdapter | None = None

    def __init__(self, hf: Any) -> None:
        super().__init__()
        self.hf = hf.float().eval()
        text = hf.config.get_text_config()
        self.config = CausalLMConfig(
            model_type=hf.config.model_type,
            vocab_size=hf.get_input_embeddings().weight.shape[0],
            context_length=getattr(text, "max_position_embeddings", None) or _UNBOUNDED_CONTEXT,
            num_parameters=self.num_parameters,
        )

    def train(self, mode: bool = True) -> CausalLM:
        """As `nn.Module.train`, but dropout stays off."""
        super().train(mode)
        self.hf.eval()
        return self

    def tables(self) -> Iterator[nn.Module]:
        """Embeddings of tokens and positions, and the output projection."""
        yield from (m for m in self.hf.modules() if isinstance(m, nn.Embedding))
        yield self.hf.get_output_embeddings()

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V] of the token after each of tokens [B, T] (integers)."""
        logits: Tensor = self.hf(input_ids=tokens, use_cache=False).logits
        return logits

    def last_logits(self, tokens: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """Logits [B, V] of the token after the last of tokens [B, T], which follow a cache.

        Args:
            mask: [B, tokens in the cache + T] of bool, False where a row is padded on its left.
            cache: a `transformers` cache, advanced in place.
        """
        accepted = _parameters(self.hf)
        # transformers 5 renamed the cache; a few architectures count positions from the mask.
        arguments: dict[str, Any] = {"cache" if "cache" in accepted else "past_key_values": cache}
        if "position_ids" in accepted:
            positions = mask.long().cumsum(dim=1).sub(1).clamp_min(0)
            arguments["position_ids"] = positions[:, -tokens.shape[1] :]
        if "logits_to_keep" in accepted:
            arguments["logits_to_keep"] = 1  # all of a long prompt's would not fit in memory
        output = self.hf(input_ids=tokens, attention_mask=mask.long(), use_cache=True, **arguments)
        logits: Tensor = output.logits[:, -1]
        return logits.float()


def _parameters(hf: Any) -> set[str]:
    return set(inspect.signature(hf.forward).parameters)


def new_cache(model: CausalLM) -> Any:
    """An empty cache of what the layers keep, for `CausalLM.last_logits`."""
    from transformers import DynamicCache

    if "config" not in inspect.signature(DynamicCache.__init__).parameters:  # before 4.56
        return DynamicCache()
    return DynamicCache(config=model.hf.config)


def build_gpt2(shape: Gpt2Shape, end_token: int) -> CausalLM:
    """A new model, drawn from torch's global random state as `transformers` does: N(0, 0.02^2), the
    projections to the residual stream divided by sqrt(2 x layers).

    Args:
        end_token: begins and ends every document.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.context_length,
        n_embd=shape.embed_dim,
        n_layer=shape.num_layers,
        n_head=shape.num_heads,
        n_inner=shape.mlp_dim,
        bos_token_id=end_token,
        eos_token_id=end_token,
    )
    return CausalLM(GPT2LMHeadModel(config))


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without bars, and without messages below an error's."""
    from transformers.utils import logging as theirs

    before = theirs.get_verbosity()
    theirs.set_verbosity(logging.CRITICAL)
    theirs.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.set_verbosity(before)


ALL_LINEAR = "all-linear"
"""peft's word for every linear map but the output projection."""


class LoraAdapter:
    """The adapters of a model; not a module, for its parameters are the model's already."""

    def __init__(self, peft_model: Any) -> None:
        self._peft = peft_model

    def merged(self) -> Any:
        """A copy of the model, of `transformers`, that has the adapters in its weights."""
        return copy.deepcopy(self._peft).merge_and_unload()

    def save(self, folder: Path) -> None:
        """Write the adapters alone, in peft's form (safetensors), to add to the model again."""
        self._peft.save_pretrained(folder, safe_serialization=True)


def check_peft() -> None:
    """Raises:
    UserError: `peft` is not installed.
    """
    try:
        import peft  # noqa: F401
    except ImportError:
        raise UserError(
            "lora_rank: LoRA needs peft; pip install './packages/textgen[lora]'"
        ) from None


def add_lora(model: CausalLM, settings: LoraFields, base: str) -> None:
    """Freeze the model and put adapters of rank `lora_rank` beside its linear maps, in place.

    A is drawn from torch's global random state and B is zero, so nothing has changed yet.

    Args:
        base: the model's name, for who reads the saved adapter.

    Raises:
        UserError: `peft` is missing, or no module of the model has a name of `lora_targets`.
    """
    check_peft()
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers.pytorch_utils import Conv1D

    targets = settings.lora_targets or ALL_LINEAR
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=settings.lora_rank,
        lora_alpha=settings.lora_scale,
        target_modules=targets if targets == ALL_LINEAR else targets.split(","),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.hf.modules()),
        base_model_name_or_path=base,
    )
    digest = weights_sha256(model)
    try:
        with quiet_transformers():
            model.adapter = LoraAdapter(get_peft_model(model.hf, config))
    except ValueError as error:
        raise UserError(
            f"lora_targets: {targets!r} names no linear map of this model; its modules are such as "
            f"{', '.join(_linear_names(model))}"
        ) from error
    model.config = replace(
        model.config,
        lora={"rank": settings.lora_rank, "alpha": settings.lora_scale, "targets": targets},
        frozen_sha256=digest,
    )


def _linear_names(model: CausalLM) -> list[str]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, Conv1D)
    named = (name for name, module in model.hf.named_modules() if isinstance(module, kinds))
    return sorted({name.rpartition(".")[2] for name in named})
