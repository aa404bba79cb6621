"""Writing an adapted model to a folder that plain `transformers` loads, safetensors and JSON."""

from __future__ import annotations

import copy
from pathlib import Path

from textgen.model.causal_lm import CausalLM
from textgen.model.quiet import quiet_transformers
from textgen.pretrained.saved_model import replace_folder
from textgen.tokenizer.tokenizer import Tokenizer

__all__ = ["save_causal_lm"]


def save_causal_lm(folder: Path, model: CausalLM, tokenizer: Tokenizer) -> None:
    """Write the folder whole, in place of what was there; LoRA adapters go into the weights.

    Rank 0 only.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    # A copy: parameters in training are views of one buffer, which safetensors would not take.
    plain = copy.deepcopy(model.hf) if model.adapter is None else model.adapter.merged()

    def write(target: Path) -> None:
        with quiet_transformers():
            plain.save_pretrained(target)
        tokenizer.save(target)

    replace_folder(folder, write)
