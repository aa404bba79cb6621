"""`textgen export`: the model in a form that other software loads, checked by loading it there."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from hvdcore.errors import UserError
from textgen.causal_lm import CausalLM
from textgen.hf_config import architecture_name
from textgen.language_model import LanguageModel
from textgen.model import Transformer
from textgen.open_model import open_model
from textgen.saved_model import replace_folder
from textgen.tokenizer import Tokenizer

__all__ = ["LOGITS_TOLERANCE", "check_hf", "export"]

LOGITS_TOLERANCE = 1e-4
"""Largest difference of float32 logits from transformers', relative to the largest logit or 1."""

PROBE_TEXT = "Der Zug hält um 7:45 Uhr.\n\n  “Naïve?” — she\u2019d said; 你好, 😀\ttabs & <tags>\n"
FORMS = ("hf",)


def export(name: Path, to: str, output_dir: Path | None) -> str:
    """Write the model to output_dir in the form `to`; return what was written, in a line.

    "hf": what plain transformers loads, ours as LlamaForCausalLM, Qwen3ForCausalLM or
    Lfm2ForCausalLM, without remote code. Logits and token ids are compared with transformers'
    before the folder appears.

    Args:
        name: a run, a folder with a model, or a hub id.

    Raises:
        UserError: an unknown form, no such model, or an output_dir that is in use.
    """
    if to not in FORMS:
        raise UserError(f"to: got {to!r}; give {' or '.join(FORMS)}")
    if output_dir is None:
        raise UserError("output_dir: not given; say where with --output-dir DIR")
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise UserError(f"output_dir: {output_dir} is not empty; give a new folder")
    opened = open_model(name)
    checked: dict[str, float] = {}

    def write(target: Path) -> None:
        for path in opened.place.folder.iterdir():
            if path.suffix in (".json", ".safetensors"):
                shutil.copyfile(path, target / path.name)
        opened.tokenizer.save(target)
        checked["difference"] = check_hf(target, opened.model, opened.tokenizer)

    replace_folder(output_dir, write)
    kind, difference = _architecture(opened.model), checked["difference"]
    return f"{output_dir}: {kind}, logits within {difference:.1e} of transformers', same token ids"


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
    difference = float((theirs(tokens).logits - ours).abs().max())
    if not difference <= LOGITS_TOLERANCE * max(1.0, float(ours.abs().max())):
        raise RuntimeError(f"{folder}: logits differ from transformers' by {difference:.2e}")
    their_tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    ids = tokenizer.encode(PROBE_TEXT).tolist()
    if their_tokenizer.encode(PROBE_TEXT, add_special_tokens=False) != ids:
        raise RuntimeError(f"{folder}: transformers' tokenizer gives other token ids")
    return difference
