"""Low-rank adapters beside frozen weights (Hu et al. 2021, LoRA), by the library `peft`."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.torch import weights_sha256
from textgen.config import LoraFields
from textgen.model.causal_lm import CausalLM
from textgen.model.quiet import quiet_transformers

__all__ = ["LoraAdapter", "add_lora", "check_peft"]

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
