"""``--compile``: the same training, by compiled layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hvdcore.errors import UserError
from hvdcore.testing.runs import run_command
from textgen.model.causal_lm import CausalLM
from textgen.model.compiled import compile_layers, eager_layers
from textgen.model.config import preset
from textgen.model.transformer import Transformer
from textgen.testing import command, environment, save_gpt2, train, write_book
from textgen.training.diagnosis import first_not_finite

# PyTorch looks at the gradients of a layer's input while it compiles, and warns of that itself.
READS_GRADIENTS = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
TOKENS = torch.arange(4 * 8).reshape(4, 8) % 50


def new_model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(preset("char").config(64, context_length=8, num_layers=2))


def gradients(model: Transformer) -> list[Tensor]:
    loss = model.loss(TOKENS, TOKENS.flip(0))
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.fixture
def compiled_with(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`torch.compile` without code generation; the list has the functions that were compiled."""
    calls: list[str] = []
    genuine = torch.compile

    def compile(function: Any, **options: Any) -> Any:
        calls.append(function.__qualname__)
        return genuine(function, backend="aot_eager", fullgraph=True, **options)

    monkeypatch.setattr(torch, "compile", compile)
    return calls


@READS_GRADIENTS
def test_gradients_are_the_same(compiled_with: list[str]) -> None:
    model, plain = new_model(), new_model()
    assert compile_layers(model) == list(model.model.layers)
    assert len(compiled_with) == 2
    for one, other in zip(gradients(model), gradients(plain), strict=True):
        torch.testing.assert_close(one, other)


@READS_GRADIENTS
def test_what_is_not_finite_is_found_inside_of_them(compiled_with: list[str]) -> None:
    model = new_model()
    compile_layers(model)
    gradients(model)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    assert first_not_finite(model, TOKENS, TOKENS) == "the output of model.layers.1.mlp.up_proj"
    with eager_layers(model):
        assert all("forward" not in layer.__dict__ for layer in model.layers())
    assert all("forward" in layer.__dict__ for layer in model.layers())


def test_layers_of_a_model_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_pretrained(save_gpt2(tmp_path / "gpt2", "one two three " * 50))
    model = CausalLM(hf)
    assert [type(layer).__name__ for layer in model.layers()] == ["GPT2Block"] * 2
    model.hf = torch.nn.Linear(1, 1)
    with pytest.raises(UserError, match="compile: this model has no list of layers"):
        compile_layers(model)


@pytest.mark.proof
@pytest.mark.ranks
def test_two_ranks_train_what_one_trains_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)  # set by PyTorch itself
    book, cache = write_book(tmp_path / "book.txt"), tmp_path / "cache"
    flags = ("--max-steps", "6", "--eval-every", "3", "--log-every", "1")
    plain = train(tmp_path / "plain", book, *flags, cache=cache).check()
    assert not (cache / "compiled").exists()
    run = train(tmp_path / "run", book, *flags, "--compile", "--np", "2", cache=cache).check()
    assert list((cache / "compiled").rglob("*.so"))
    assert run.losses("train") == pytest.approx(plain.losses("train"), rel=1e-5)
    assert run.report["test"]["loss"] == pytest.approx(plain.report["test"]["loss"], abs=1e-5)


def test_without_a_compiler(tmp_path: Path) -> None:
    book = write_book(tmp_path / "book.txt")
    env = {**environment(tmp_path / "cache"), "CXX": "/no/such/compiler"}
    line = command("train", "--data", str(book), "--output-dir")
    line += [str(tmp_path / "run"), "--compile", "--np", "2"]
    run = run_command(tmp_path / "run", line, env, 120)
    assert run.returncode == 2
    (error,) = [line for line in run.stderr.splitlines() if line.startswith("error:")]
    assert error.startswith("error: compile: torch.compile does not work here: ")
    assert "Traceback" not in run.stderr
