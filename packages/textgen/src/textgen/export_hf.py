"""`textgen export --to hf`: the folder that plain `transformers` loads, and its check."""

from __future__ import annotations

from pathlib import Path

import torch

from textgen.export_check import copy_files, logits_difference
from textgen.model.causal_lm import CausalLM
from textgen.model.language_model import LanguageModel
from textgen.model.transformer import Transformer
from textgen.pretrained.hf_format import architecture_name
from textgen.pretrained.load import OpenedModel
from textgen.tokenizer.tokenizer import Tokenizer

__all__ = ["check_hf", "write_hf"]

PROBE_TEXT = "Der Zug hält um 7:45 Uhr.\n\n  “Naïve?” — she\u2019d said; 你好, 😀\ttabs & <tags>\n"


def write_hf(folder: Path, opened: OpenedModel) -> str:
    """Fill the folder and compare; what was written, in a few words."""
    copy_files(opened, folder, (".json", ".safetensors"))
    difference = check_hf(folder, opened.model, opened.tokenizer)
    kind = _architecture(opened.model)
    return f"{kind}, logits within {difference:.1e} of transformers', same token ids"


def _architecture(model: LanguageModel) -> str:
    if isinstance(model, Transformer):
        return architecture_name(model.config)
    assert isinstance(model, CausalLM)
    return type(model.hf).__name__


@torch.inference_mode()
def check_hf(folder: Path, model: LanguageModel, tokenizer: Tokenizer) -> float:
    """Load the folder in plain transformers and compare; the largest difference of logits.

    Raises:
        RuntimeError: logits or token ids differ.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    theirs = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False).float().eval()
    generator = torch.Generator().manual_seed(0)
    shape = (2, min(model.config.context_length, 128))
    tokens = torch.randint(model.config.vocab_size, shape, generator=generator)
    ours = model.cpu()(tokens).float()
    difference = logits_difference(ours, theirs(tokens).logits, folder, "transformers'")
    their_tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    ids = tokenizer.encode(PROBE_TEXT).tolist()
    if their_tokenizer.encode(PROBE_TEXT, add_special_tokens=False) != ids:
        raise RuntimeError(f"{folder}: transformers' tokenizer gives other token ids")
    return difference
