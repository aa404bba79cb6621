"""`textgen export`: the model in a form that other software loads, checked by loading it there.

What every form of an export shares: the files beside the weights, and when logits are equal.

`textgen export --to hf`: the folder that plain `transformers` loads, and its check.

`textgen export --to onnx`: one graph that ONNX Runtime runs, any batch and length, its check.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from hvdcore.errors import UserError
from textgen.model.causal_lm import CausalLM
from textgen.model.language_model import LanguageModel
from textgen.model.transformer import Transformer
from textgen.pretrained.hf_format import architecture_name
from textgen.pretrained.load import OpenedModel, open_model
from textgen.pretrained.saved_model import replace_folder
from textgen.tokenizer.tokenizer import Tokenizer

__all__ = [
    "LOGITS_TOLERANCE",
    "check_hf",
    "check_onnx",
    "check_onnx_installed",
    "copy_files",
    "export",
    "logits_difference",
    "write_hf",
    "write_onnx",
]

LOGITS_TOLERANCE = 1e-4
"""Largest difference of float32 logits from ours, relative to the largest logit or 1."""


def copy_files(opened: OpenedModel, folder: Path, suffixes: tuple[str, ...]) -> None:
    """Copy the model's files of these kinds into the folder, and write its tokenizer there."""
    for path in opened.place.folder.iterdir():
        if path.suffix in suffixes:
            shutil.copyfile(path, folder / path.name)
    opened.tokenizer.save(folder)


def logits_difference(ours: Tensor, theirs: Tensor, folder: Path, whose: str) -> float:
    """The largest difference of logits from another program's, both of the same shape.

    Raises:
        RuntimeError: it is above the tolerance.
    """
    difference = float((theirs - ours).abs().max())
    if not difference <= LOGITS_TOLERANCE * max(1.0, float(ours.abs().max())):
        raise RuntimeError(f"{folder}: logits differ from {whose} by {difference:.2e}")
    return difference


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


GRAPH = "model.onnx"
_LIBRARIES = ("onnx", "onnxruntime", "onnxscript")


def check_onnx_installed() -> None:
    """Look for what writes and runs the graph.

    Raises:
        UserError: something is not installed.
    """
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise UserError(f"to: onnx needs {names}; pip install './packages/textgen[onnx]'")


def write_onnx(folder: Path, opened: OpenedModel) -> str:
    """Fill the folder and compare; what was written, in a few words."""
    copy_files(opened, folder, (".json",))
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)  # names no file here
    model = opened.model.cpu().eval()
    write_graph(folder / GRAPH, model)
    difference = check_onnx(folder, model)
    return (
        f"{GRAPH}, input_ids [batch, length] to logits, at most {model.config.context_length} "
        f"tokens; logits within {difference:.1e} of PyTorch's in ONNX Runtime"
    )


class _Logits(nn.Module):
    """The one input, without the options that only training and decoding use."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids)
        return logits


def write_graph(path: Path, model: LanguageModel) -> None:
    """Write the graph; weights above 1.5 GB go into `model.onnx.data` beside it, for Protobuf holds
    no more than 2.
    """
    longest = model.config.context_length
    example = torch.zeros(2, min(longest, 32), dtype=torch.int64)
    dimension = torch.export.Dim
    shape = {0: dimension("batch", min=1), 1: dimension("length", min=1, max=longest)}
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = registry.level
    registry.setLevel(logging.ERROR)  # it tells of torchvision, which is not needed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own parts; the result is checked
            program = torch.onnx.export(
                _Logits(model).eval(), (example,), dynamo=True, verbose=False,
                input_names=["input_ids"], output_names=["logits"],
                dynamic_shapes={"input_ids": shape},
            )  # fmt: skip
            assert program is not None
            program.save(path)
    finally:
        registry.setLevel(before)


@torch.inference_mode()
def check_onnx(folder: Path, model: LanguageModel) -> float:
    """Run the graph in ONNX Runtime on batches of several shapes; the largest difference of logits.

    Raises:
        RuntimeError: logits differ.
    """
    from onnxruntime import InferenceSession

    session = InferenceSession(folder / GRAPH, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    longest = model.config.context_length
    differences = []
    for batch, length in ((1, 1), (3, min(longest, 5)), (2, min(longest, 128))):
        tokens = torch.randint(model.config.vocab_size, (batch, length), generator=generator)
        (theirs,) = session.run(["logits"], {"input_ids": tokens.numpy()})
        ours = model(tokens).float()
        differences.append(
            logits_difference(ours, torch.from_numpy(theirs), folder, "ONNX Runtime's")
        )
    return max(differences)


FORMS = {"hf": write_hf, "onnx": write_onnx}


def export(name: Path, to: str, output_dir: Path | None) -> str:
    """Write the model to output_dir in the form `to`; return what was written, in a line.

    "hf": what plain transformers loads, ours as LlamaForCausalLM, Qwen3ForCausalLM or
    Lfm2ForCausalLM, without remote code; token ids are compared too. "onnx": a graph for ONNX
    Runtime. Either way logits are compared with those of the other program before the folder
    appears.

    Args:
        name: a run, a folder with a model, or a hub id.

    Raises:
        UserError: an unknown form, no such model, an output_dir that is in use, or a library that
            is not installed.
    """
    if to not in FORMS:
        raise UserError(f"to: got {to!r}; give {' or '.join(FORMS)}")
    if output_dir is None:
        raise UserError("output_dir: not given; say where with --output-dir DIR")
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise UserError(f"output_dir: {output_dir} is not empty; give a new folder")
    if to == "onnx":
        check_onnx_installed()
    opened = open_model(name)
    told: list[str] = []
    replace_folder(output_dir, lambda folder: told.append(FORMS[to](folder, opened)))
    return f"{output_dir}: {told[0]}"
