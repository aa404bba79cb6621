"""Fine-tuned and exported models keep what their base has beside the weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers
from tokenizers import models, pre_tokenizers, processors, trainers

from hvdcore.errors import UserError
from hvdcore.run.run_dir import RunDir
from textgen.config import TrainConfig
from textgen.export import export
from textgen.model.causal_lm import quiet_transformers
from textgen.pretrained.base_files import keep_base_files
from textgen.pretrained.load import check_model_exists, resolve_model
from textgen.training.finalize import save
from textgen.training.init_model import build_model

TEXT = "the cat sat on the mat and the dog sat on the log. " * 20
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


@pytest.fixture(scope="module", params=["Llama", "Mistral"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of our own architecture, and one that transformers runs."""
    folder = tmp_path_factory.mktemp(request.param) / "base"
    made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    marks = ["<unk>", "<s>", "</s>", "<pad>"]
    made.train_from_iterator(
        [TEXT], trainers.BpeTrainer(vocab_size=120, special_tokens=marks, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    shape = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "intermediate_size": 32, "vocab_size": 128,
        "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3,
    }  # fmt: skip
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(0)
        config = getattr(transformers, f"{request.param}Config")(**shape)
        model = getattr(transformers, f"{request.param}ForCausalLM")(config)
        model.generation_config.temperature = 0.5
        model.generation_config.do_sample = True
        model.save_pretrained(folder)
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
            pad_token="<pad>", chat_template=TEMPLATE,
        )  # fmt: skip
        tokenizer.save_pretrained(folder)
    return folder


def check_kept(folder: Path, positions: int) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    marks = (theirs.bos_token, theirs.eos_token, theirs.unk_token, theirs.pad_token)
    assert marks == ("<s>", "</s>", "<unk>", "<pad>")
    padded = theirs(["the cat", "the cat sat on the mat"], padding=True)["input_ids"]
    assert len({len(row) for row in padded}) == 1
    told = theirs.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert told == "user: hi\n"
    config = json.loads((folder / "config.json").read_text())
    ids = [config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")]
    assert ids == [1, 2, 3]
    assert config["max_position_embeddings"] == positions
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["temperature"] == 0.5


def test_a_fine_tuned_model_keeps_them(base: Path, tmp_path: Path) -> None:
    resolved = resolve_model(base)
    config = TrainConfig(init_from=str(base), context_length=16)
    model = build_model(config, resolved.tokenizer, None, resolved)  # type: ignore[arg-type]
    save(model, resolved.tokenizer, RunDir(tmp_path), base)
    check_kept(tmp_path / "model", positions=64)
    save(model, resolved.tokenizer, RunDir(tmp_path / "plain"))  # control
    with pytest.raises((AssertionError, ValueError)):
        check_kept(tmp_path / "plain" / "model", positions=64)


def test_an_export_keeps_them(base: Path, tmp_path: Path) -> None:
    export(base, "hf", tmp_path / "out")
    check_kept(tmp_path / "out", positions=64)


def test_more_positions_than_the_base_had_stay(tmp_path: Path) -> None:
    for name, positions in (("base", 64), ("new", 128)):
        (tmp_path / name).mkdir()
        content = json.dumps({"max_position_embeddings": positions})
        (tmp_path / name / "config.json").write_text(content)
    (tmp_path / "base" / "tokenizer_config.json").write_text('{"auto_map": {}, "pad_token": "x"}')
    keep_base_files(tmp_path / "new", tmp_path / "base")
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["max_position_embeddings"] == 128
    assert json.loads((tmp_path / "new" / "tokenizer_config.json").read_text()) == {
        "pad_token": "x"
    }


def test_a_default_that_nobody_gave_is_called_so(base: Path) -> None:
    resolved = resolve_model(base)
    if "mistral" not in str(base).lower():
        pytest.skip("our own architecture takes any context length")
    with pytest.raises(UserError, match=r"context_length: 128 \(the default\) is more than the 64"):
        build_model(TrainConfig(init_from=str(base)), resolved.tokenizer, None, resolved)  # type: ignore[arg-type]


def test_folders_that_are_taken_for_a_models(tmp_path: Path) -> None:
    for step in (500, 1500):
        (tmp_path / "trainer" / f"checkpoint-{step}").mkdir(parents=True)
        (tmp_path / "trainer" / f"checkpoint-{step}" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"give one of them, such as .*checkpoint-1500"):
        check_model_exists(tmp_path / "trainer")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    for name in ("", "model.safetensors"):  # alone, and beside a model
        (tmp_path / "adapter" / (name or "README.md")).write_text("{}")
        with pytest.raises(UserError, match="an adapter, which is not merged into its model"):
            check_model_exists(tmp_path / "adapter")
    inner = tmp_path / "download" / "snapshot" / "abc"
    inner.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (inner / name).write_text("{}")
    with pytest.raises(UserError, match=r"holds no model itself; give the folder of one, .*/abc"):
        check_model_exists(tmp_path / "download")
