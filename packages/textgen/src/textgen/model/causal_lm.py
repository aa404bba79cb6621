"""Models of `transformers` behind our own interface: any causal language model, GPT-2, and LoRA.

GPT-2's architecture (Radford et al. 2019: learned positions, LayerNorm, GELU, biases) is there to
compare ours with. LoRA (Hu et al. 2021) is that of the library `peft`.
"""

from __future__ import annotations

import copy
import inspect
import logging
import warnings
from collections.abc import Iterable, Iterator
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
    "transformers_must_load",
]

_UNBOUNDED_CONTEXT = 2048
"""Context length of a model whose configuration names none."""

ALL_LINEAR = "all-linear"
"""peft's name for every linear layer but the output projection."""


@dataclass(frozen=True)
class CausalLMConfig:
    """The fields of a wrapped model that we use; the rest is in its config.json."""

    model_type: str
    """The architecture, as named in transformers."""
    vocab_size: int
    """Rows of the embedding: often more than the tokenizer has tokens."""
    context_length: int
    """Longest sequence that it can attend to, in tokens."""
    num_parameters: int
    lora: dict[str, Any] | None = None
    """Rank, alpha and targets of its adapters, if any."""
    frozen_sha256: str | None = None
    """SHA-256 of the frozen weights, which a checkpoint does not contain."""


class CausalLM(LanguageModel):
    """A model of `transformers`, in float32 and without dropout.

    Dropout masks would differ between ranks: without them N ranks train the same model as one.

    Args:
        hf: a `PreTrainedModel` with a language modeling head, its weights in place.

    Attributes:
        adapter: its LoRA adapters, after `add_lora`; all other weights are then frozen.
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
            context_length=_context_length(text),
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

    def layers(self) -> Iterable[nn.Module]:
        """The modules of the outermost list in the model: in every architecture, its layers."""
        lists = (module for module in self.hf.modules() if isinstance(module, nn.ModuleList))
        return next(lists, ())

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V] of the token after each of tokens [B, T] (integers)."""
        logits: Tensor = self.hf(input_ids=tokens, use_cache=False).logits
        return logits

    def last_logits(self, tokens: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """Logits [B, V] of the token after tokens [B, T], which continue a cache.

        Args:
            mask: [B, tokens in the cache + T] of bool, False where a row is padded on its left.
            cache: a `transformers` cache, advanced in place.
        """
        accepted = _parameters(self.hf)
        # transformers 5 renamed the cache; a few architectures derive positions from the mask.
        arguments: dict[str, Any] = {"cache" if "cache" in accepted else "past_key_values": cache}
        if "position_ids" in accepted:
            positions = mask.long().cumsum(dim=1).sub(1).clamp_min(0)
            arguments["position_ids"] = positions[:, -tokens.shape[1] :]
        if "logits_to_keep" in accepted:
            arguments["logits_to_keep"] = 1  # those of a whole long prompt would not fit in memory
        output = self.hf(input_ids=tokens, attention_mask=mask.long(), use_cache=True, **arguments)
        logits: Tensor = output.logits[:, -1]
        return logits.float()


def _context_length(config: Any) -> int:
    # None, 0 and -1 all stand for no bound.
    named = getattr(config, "max_position_embeddings", None)
    return named if isinstance(named, int) and named > 0 else _UNBOUNDED_CONTEXT


def _parameters(hf: Any) -> set[str]:
    return set(inspect.signature(hf.forward).parameters)


def new_cache(model: CausalLM) -> Any:
    """An empty key-value cache for `CausalLM.last_logits`."""
    from transformers import DynamicCache

    if "config" not in inspect.signature(DynamicCache.__init__).parameters:  # before 4.56
        return DynamicCache()
    return DynamicCache(config=model.hf.config)


def build_gpt2(shape: Gpt2Shape, end_token: int) -> CausalLM:
    """A new model, initialized from torch's global random state as `transformers` does.

    Weights are N(0, 0.02^2), divided by sqrt(2 x layers) for projections to the residual stream.

    Args:
        end_token: begins and ends every document.
    """
    with transformers_must_load():
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
def transformers_must_load() -> Iterator[None]:
    """A model of transformers that cannot be imported in the block is a problem of the packages
    that are installed, most often a torchvision made for another PyTorch.

    Raises:
        UserError: naming the package that failed, in place of an ImportError.
    """
    try:
        yield
    except ImportError as error:
        first: BaseException = error
        while (cause := first.__cause__ or first.__context__) is not None:
            first = cause
        reason = " ".join(f"{type(first).__name__}: {first}".split())
        raise UserError(
            f"transformers: it cannot be imported here ({reason}); install the release of each "
            "package that it names, or of torchvision, that belongs to this PyTorch, or uninstall "
            "it"
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Suppress progress bars and warnings of transformers; what they report is checked here."""
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


class LoraAdapter:
    """The adapters of a model; not a module, as its parameters are in the model already."""

    def __init__(self, peft_model: Any) -> None:
        self._peft = peft_model

    def merged(self) -> Any:
        """A copy of the transformers model with the adapters merged into its weights."""
        return copy.deepcopy(self._peft).merge_and_unload()

    def save(self, folder: Path) -> None:
        """Write the adapters alone, in the format of peft (safetensors)."""
        self._peft.save_pretrained(folder, safe_serialization=True)


def check_peft() -> None:
    """Check that `peft` is installed.

    Raises:
        UserError: it is not.
    """
    try:
        import peft  # noqa: F401
    except ImportError:
        raise UserError(
            "lora_rank: LoRA needs peft; pip install './packages/textgen[lora]'"
        ) from None


def add_lora(model: CausalLM, settings: LoraFields, base: str) -> None:
    """Freeze the model and add adapters of rank `lora_rank` to its linear layers, in place.

    A is drawn from torch's global random state and B is zero, so the output is unchanged at first.

    Args:
        base: name of the model, written to the saved adapter.

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
            f"lora_targets: {targets!r} names no linear layer of this model; it has "
            f"{', '.join(_linear_names(model))}"
        ) from error
    model.config = replace(
        model.config,
        lora={"rank": settings.lora_rank, "alpha": settings.lora_scale, "targets": targets},
        frozen_sha256=digest,
    )


def _linear_names(model: CausalLM) -> list[str]:
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, Conv1D)
    named = (name for name, module in model.hf.named_modules() if isinstance(module, kinds))
    return sorted({name.rpartition(".")[2] for name in named})
