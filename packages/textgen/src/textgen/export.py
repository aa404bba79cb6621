"""`textgen export`: a model in the format of other software, checked by loading it there.

`--to hf` writes a folder for plain `transformers`; `--to onnx` one graph for ONNX Runtime, for any
batch size and length. Logits are compared with ours before the folder appears.
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
from textgen.pretrained.base_files import keep_base_files
from textgen.pretrained.hf_format import architecture_name
from textgen.pretrained.load import LoadedModel, open_model
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
"""Largest difference of float32 logits, relative to the largest logit or 1."""


PROBE_TEXT = "Der Zug hält um 7:45 Uhr.\n\n  “Naïve?” — she\u2019d said; 你好, 😀\ttabs & <tags>\n"

GRAPH = "model.onnx"
_LIBRARIES = ("onnx", "onnxruntime", "onnxscript")


def export(name: Path, to: str, output_dir: Path | None) -> str:
    """Write the model to output_dir in the format `to`; return a one-line summary.

    "hf": for plain transformers, ours as LlamaForCausalLM, Qwen3ForCausalLM or Lfm2ForCausalLM,
    without remote code; token ids are compared too. "onnx": a graph for ONNX Runtime.

    Args:
        name: a run, a folder with a model, or a hub id.

    Raises:
        UserError: an unknown format, no such model, an output_dir that is not empty, or a package
            that is not installed.
    """
    if to not in _FORMATS:
        raise UserError(f"to: got {to!r}; give {' or '.join(_FORMATS)}")
    if output_dir is None:
        raise UserError("output_dir: missing; give --output-dir DIR")
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise UserError(f"output_dir: {output_dir} is not empty; give a new folder")
    if to == "onnx":
        check_onnx_installed()
    opened = open_model(name)
    summary: list[str] = []
    replace_folder(output_dir, lambda folder: summary.append(_FORMATS[to](folder, opened)))
    return f"{output_dir}: {summary[0]}"


def copy_files(opened: LoadedModel, folder: Path, suffixes: tuple[str, ...]) -> None:
    """Copy the model's files with these suffixes to the folder, and write its tokenizer."""
    for path in opened.source.folder.iterdir():
        if path.suffix in suffixes:
            shutil.copyfile(path, folder / path.name)
    opened.tokenizer.save(folder)
    keep_base_files(folder, opened.source.folder)


def logits_difference(ours: Tensor, theirs: Tensor, folder: Path, whose: str) -> float:
    """The largest difference of the logits of another program, both of the same shape.

    Raises:
        RuntimeError: it exceeds the tolerance.
    """
    difference = float((theirs - ours).abs().max())
    if not difference <= LOGITS_TOLERANCE * max(1.0, float(ours.abs().max())):
        raise RuntimeError(f"{folder}: logits differ from {whose} by {difference:.2e}")
    return difference


def write_hf(folder: Path, opened: LoadedModel) -> str:
    """Write the folder and compare; return a summary."""
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
    """Load the folder by plain transformers; the largest difference of logits.

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


def check_onnx_installed() -> None:
    """Check that the packages that write and run the graph are installed.

    Raises:
        UserError: one is not.
    """
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise UserError(f"to: onnx needs {names}; pip install './packages/textgen[onnx]'")


def write_onnx(folder: Path, opened: LoadedModel) -> str:
    """Write the folder and compare; return a summary."""
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
    """The model with tokens as its only input."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids)
        return logits


def write_graph(path: Path, model: LanguageModel) -> None:
    """Write the graph; weights above 1.5 GB go to `model.onnx.data`, as Protobuf holds 2 GB."""
    longest = model.config.context_length
    example = torch.zeros(2, min(longest, 32), dtype=torch.int64)
    dimension = torch.export.Dim
    shape = {0: dimension("batch", min=1), 1: dimension("length", min=1, max=longest)}
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = registry.level
    registry.setLevel(logging.ERROR)  # it warns about torchvision, which is not needed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter itself; the result is checked
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
    """Run the graph by ONNX Runtime for several shapes; the largest difference of logits.

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


_FORMATS = {"hf": write_hf, "onnx": write_onnx}
