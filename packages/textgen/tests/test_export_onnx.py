"""The ONNX graph: ONNX Runtime computes what PyTorch does, at every batch and length."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hvdcore.errors import UserError
from textgen.export import check_onnx, export, write_graph
from textgen.model.causal_lm import CausalLM
from textgen.model.transformer import ModelConfig, Transformer
from textgen.pretrained.saved_model import save_model
from textgen.tokenizer.load import load_tokenizer
from textgen.tokenizer.tokenizer import ByteTokenizer

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CONVOLUTION = ModelConfig(
    vocab_size=300, context_length=32, num_layers=2, num_heads=4, num_kv_heads=2, embed_dim=32,
    mlp_dim=48, attention_every=2,
)  # fmt: skip


def convolution_and_attention() -> Transformer:
    """Weights of a size that lets every layer matter."""
    torch.manual_seed(0)
    model = Transformer(CONVOLUTION)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2)
    return model.eval()


def gpt2() -> CausalLM:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    shape = {"vocab_size": 300, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4}
    return CausalLM(GPT2LMHeadModel(GPT2Config(**shape)))


def run_graph(folder: Path, tokens: torch.Tensor) -> Any:
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return session.run(None, {"input_ids": tokens.numpy()})[0]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    save_model(folder / "model", convolution_and_attention(), ByteTokenizer())
    message = export(folder / "model", "onnx", folder / "out")
    assert message.startswith(f"{folder / 'out'}: model.onnx, input_ids [batch, length] to logits")
    return folder / "out"


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 32), (4, 2), (3, 17)])
def test_logits_are_those_of_the_model(exported: Path, batch: int, length: int) -> None:
    generator = torch.Generator().manual_seed(batch)
    tokens = torch.randint(300, (batch, length), generator=generator)
    with torch.inference_mode():
        ours = convolution_and_attention()(tokens).numpy()
    np.testing.assert_allclose(run_graph(exported, tokens), ours, atol=1e-4)


def test_the_tokenizer_and_the_configuration_are_beside_the_graph(exported: Path) -> None:
    names = {path.name for path in exported.iterdir()}
    assert {"model.onnx", "config.json", "tokenizer.json"} <= names
    assert not any(name.endswith((".safetensors", ".bin", ".pt")) for name in names)
    assert load_tokenizer(exported).sha256 == ByteTokenizer().sha256


def test_the_check_can_fail(exported: Path) -> None:
    model = convolution_and_attention()
    assert check_onnx(exported, model) < 1e-4
    with torch.no_grad():
        model.model.layers[0].conv.taps[0, 0, 0] += 1.0
    with pytest.raises(RuntimeError, match="logits differ from ONNX Runtime's"):
        check_onnx(exported, model)


@pytest.mark.proof
def test_a_model_of_transformers_is_exported(tmp_path: Path) -> None:
    write_graph(tmp_path / "model.onnx", gpt2())
    assert check_onnx(tmp_path, gpt2()) < 1e-4


def test_a_missing_library_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "x" in name else name)
    with pytest.raises(UserError, match=r"onnx needs onnx, onnxruntime, .*textgen\[onnx\]"):
        export(tmp_path, "onnx", tmp_path / "out")
