"""`textgen export --to onnx`: one graph that ONNX Runtime runs, any batch and length, its check."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from hvdcore.errors import UserError
from textgen.export_check import copy_files, logits_difference
from textgen.model.language_model import LanguageModel
from textgen.pretrained.load import OpenedModel

__all__ = ["check_onnx", "check_onnx_installed", "write_onnx"]

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
