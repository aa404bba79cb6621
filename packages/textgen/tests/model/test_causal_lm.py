"""Models of transformers behind our interface, against transformers itself; and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hvdcore.errors import UserError
from textgen.export import export
from textgen.generation.batch import window_start
from textgen.generation.generate import generate
from textgen.generation.loop import generate_tokens
from textgen.generation.sampling import SamplingOptions
from textgen.model.causal_lm import CausalLM, quiet_transformers
from textgen.model.transformer import Transformer
from textgen.pretrained.hf_folder import load_causal_lm
from textgen.pretrained.load import open_model
from textgen.testing import save_gpt2
from textgen.tokenizer.tokenizer import train_bpe

TEXT = "the cat sat on the mat and the dog sat on the log. " * 20
CONTEXT = 32
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11], list(range(40)), [1, 2, 3]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gpt2(tmp_path_factory.mktemp("gpt2") / "model", TEXT)


@pytest.fixture(scope="module")
def model(folder: Path) -> CausalLM:
    return load_causal_lm(folder)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    with quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(folder).eval()


def tokens(rows: int, length: int = CONTEXT) -> Tensor:
    return torch.randint(288, (rows, length), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_loss_and_size_are_those_of_transformers(model: CausalLM, theirs: Any) -> None:
    batch = tokens(3)
    assert torch.equal(model(batch), theirs(batch).logits)
    # transformers' labels are the inputs: it shifts them, and leaves the first out.
    loss = model.loss(batch[:, :-1], batch[:, 1:], "mean")
    assert loss.item() == pytest.approx(theirs(batch, labels=batch).loss.item(), rel=1e-6)
    assert model.num_parameters == theirs.num_parameters()
    assert (model.config.model_type, model.config.context_length) == ("gpt2", CONTEXT)
    assert (model.config.vocab_size, model.config.num_parameters) == (288, model.num_parameters)


def test_training_knows_no_dropout(model: CausalLM) -> None:
    """GPT-2's config says 0.1; each rank would draw its own."""
    assert model.hf.config.resid_pdrop == 0.1
    batch = tokens(2)
    assert torch.equal(model.train()(batch), model.eval()(batch))
    model.hf.train()  # the control: with it the two differ
    assert not torch.equal(model(batch), model.eval()(batch))


def test_tables_are_the_embeddings(model: CausalLM) -> None:
    assert model.table_names == {"hf.transformer.wte.weight", "hf.transformer.wpe.weight"}


@torch.inference_mode()
def test_a_batch_writes_what_each_row_would_alone(model: CausalLM) -> None:
    """Against a full forward pass over each row's window for each token; all rows slide."""
    greedy, count = SamplingOptions(temperature=0), 3 * CONTEXT
    together = generate_tokens(model, PROMPTS, max_new_tokens=count, options=greedy)
    for prompt, written in zip(PROMPTS, together, strict=True):
        row, start = list(prompt), max(0, len(prompt) - CONTEXT)
        for _ in range(count):
            start = window_start(len(row), start, CONTEXT)
            row.append(int(model(torch.tensor([row[start:]]))[0, -1].argmax()))
        assert written == row[len(prompt) :]


def test_rows_that_end_leave_the_others_alone(model: CausalLM) -> None:
    sampled = SamplingOptions(seed=3)
    free = generate_tokens(model, PROMPTS, max_new_tokens=40, options=sampled)
    end = free[0][5]  # row 0, and its twin, end early
    ended = generate_tokens(model, PROMPTS, max_new_tokens=40, options=sampled, end_token=end)
    for whole, short in zip(free, ended, strict=True):
        stop = whole.index(end) + 1 if end in whole else len(whole)
        assert short == whole[:stop]
    assert len({len(row) for row in ended}) > 1


def test_greedy_text_is_that_of_transformers(folder: Path, theirs: Any) -> None:
    opened = open_model(folder)
    start = [opened.tokenizer.eot_id, *opened.tokenizer.encode("the cat").tolist()]
    with torch.inference_mode():
        out = theirs.generate(torch.tensor([start]), max_new_tokens=20, do_sample=False)
    texts = [
        generate(opened.model, opened.tokenizer, ["the cat", "dog"], max_new_tokens=20,
                 greedy=True, batch_size=size)
        for size in (1, 2)
    ]  # fmt: skip
    assert texts[0] == texts[1]
    assert texts[0][0] == opened.tokenizer.decode(out[0, len(start) :].tolist())


def test_shards_and_another_architecture_load_too(tmp_path: Path, theirs: Any) -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    with quiet_transformers():
        theirs.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
        neox = GPTNeoXForCausalLM(
            GPTNeoXConfig(
                vocab_size=288, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=CONTEXT,
            )
        ).eval()  # fmt: skip
        neox.save_pretrained(tmp_path / "neox")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    batch = tokens(2)
    for name, expected in (("sharded", theirs), ("neox", neox)):
        model = load_causal_lm(tmp_path / name)
        assert torch.equal(model(batch), expected(batch).logits)
    # Not tied: the output projection is a table of its own, whatever its name.
    assert len(model.table_names) == 2
    assert "hf.gpt_neox.embed_in.weight" in model.table_names
    together = generate_tokens(model, [[1], list(range(20))], max_new_tokens=30)
    assert together[:1] == generate_tokens(model, [[1]], max_new_tokens=30)


def test_a_bfloat16_model_computes_in_float32(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "half")
    path = tmp_path / "half" / "model.safetensors"
    halved = {name: value.bfloat16() for name, value in load_file(path).items()}
    save_file(halved, path, metadata={"format": "pt"})
    change(tmp_path / "half", dtype="bfloat16")
    loaded = load_causal_lm(tmp_path / "half")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    weight = loaded.hf.transformer.wte.weight
    assert torch.equal(weight, halved["transformer.wte.weight"].float())


def test_an_export_of_an_adapted_model_is_checked(folder: Path, tmp_path: Path) -> None:
    line = export(folder, "hf", tmp_path / "out")
    assert "GPT2LMHeadModel, logits within 0.0e+00" in line
    assert open_model(tmp_path / "out").model.config == open_model(folder).model.config


def test_our_own_models_stay_ours(tmp_path: Path) -> None:
    from textgen.model.config import preset
    from textgen.pretrained.saved_model import save_model

    own = Transformer(preset("1m").config(300, context_length=16, num_layers=1))
    save_model(tmp_path / "own", own, train_bpe([TEXT], 280))
    assert isinstance(open_model(tmp_path / "own").model, Transformer)


def change(folder: Path, name: str = "config.json", **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.0.mlp.c_fc.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def sharded(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        index = {"metadata": {}, "weight_map": {"transformer.wte.weight": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return damage


def with_code(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('remote code ran')\n")
    change(folder, auto_map={"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Config"})


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickle": (pickled, r"its weights are a pickle \(pytorch_model\.bin\)"),
    "code": (with_code, r"needs code of its own \(auto_map\), which is never run"),
    "unknown": (lambda f: change(f, model_type="t5"), "'t5' is not a causal language model"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"no model\.safetensors"),
    "cut": (truncated, "transformers cannot load it"),
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), "cannot load it"),
    "missing": (without_a_weight, r"h\.0\.mlp\.c_fc\.weight is missing"),
    "shape": (lambda f: change(f, n_inner=99), "cannot load it|c_fc"),
    "config": (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
    "outside": (sharded("../model.safetensors"), "is not a safetensors file in the same folder"),
    "pickled shard": (sharded("a.bin"), "is not a safetensors file in the same folder"),
    "lost shard": (sharded("a.safetensors"), r"a\.safetensors: missing"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json: missing"),
    "larger tokenizer": (
        lambda f: train_bpe([" ".join(f"word{i}" for i in range(500)) * 2], 300).save(f),
        r"it has \d+ tokens and the model only 288",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_is_refused_is_one_clear_line(tmp_path: Path, folder: Path, name: str) -> None:
    damage, message = REFUSED[name]
    shutil.copytree(folder, tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(UserError, match=message) as caught:
        open_model(tmp_path / "model")
    assert len(caught.value.problems) == 1
    assert str(tmp_path / "model") in caught.value.problems[0]
