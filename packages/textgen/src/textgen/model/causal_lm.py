"""Any causal language model of `transformers`, behind the interface of our own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from textgen.model.language_model import LanguageModel

if TYPE_CHECKING:
    from textgen.model.lora import LoraAdapter

__all__ = ["CausalLM", "CausalLMConfig", "new_cache"]

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
