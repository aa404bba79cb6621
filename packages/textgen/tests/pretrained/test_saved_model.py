"""Saved models: what comes back, what transformers makes of them, and every kind of damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hvdcore.errors import UserError
from hvdcore.run.run_dir import RunDir
from textgen.export import check_hf, export
from textgen.model.config import ModelConfig
from textgen.model.transformer import Transformer
from textgen.pretrained.saved_model import load_model, save_model
from textgen.tokenizer.tokenizer import ByteTokenizer, Tokenizer, train_bpe

TEXT = "the cat sat on the mat and the dog sat on the log. " * 20


def random_model(**changes: object) -> Transformer:
    shape = {
        "vocab_size": 300, "context_length": 32, "num_layers": 2, "num_heads": 4,
        "num_kv_heads": 2, "embed_dim": 32, "mlp_dim": 48, **changes,
    }  # fmt: skip
    torch.manual_seed(0)
    model = Transformer(ModelConfig(**shape))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            center = 1.0 if parameter.ndim == 1 else 0.0
            parameter.normal_(center, 0.2)
    return model.eval()


def bpe() -> Tokenizer:
    return train_bpe([TEXT], 280)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", random_model(), ByteTokenizer())
    return tmp_path / "model"


def test_comes_back_equal_and_leaves_the_random_state(saved: Path) -> None:
    before = torch.get_rng_state()
    model, tokenizer = load_model(saved)
    assert torch.equal(torch.get_rng_state(), before)
    expected = random_model()
    assert model.config == expected.config
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert tokenizer.sha256 == ByteTokenizer().sha256
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("every", [2, 3, 4])
def test_short_convolutions_come_back(tmp_path: Path, every: int) -> None:
    expected = random_model(num_layers=4, attention_every=every, conv_kernel=5)
    save_model(tmp_path / "model", expected, ByteTokenizer())
    names = load_file(tmp_path / "model" / "model.safetensors").keys()
    assert {"model.embedding_norm.weight", "model.layers.3.feed_forward.w1.weight"} <= names
    model, _ = load_model(tmp_path / "model")
    assert model.config == expected.config
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_bias": True}, "conv_bias is not false"),
        ({"block_auto_adjust_ff_dim": None}, "block_auto_adjust_ff_dim is not false"),
        ({"layer_types": ["full_attention", "conv"]}, "the last is not full_attention"),
        ({"conv_L_cache": "3"}, "conv_L_cache is '3'; give a whole number"),
    ],
)
def test_other_short_convolutions_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    save_model(tmp_path / "model", random_model(attention_every=2), ByteTokenizer())
    change_config(tmp_path / "model", **changes)
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / "model")


def test_saving_again_replaces_everything(saved: Path) -> None:
    (saved / "stale.json").write_text("{}")
    save_model(saved, random_model(num_layers=1), bpe())
    model, tokenizer = load_model(saved)
    assert model.config.num_layers == 1
    assert tokenizer.vocab_size == bpe().vocab_size
    assert not (saved / "stale.json").exists()


@pytest.mark.parametrize("make_tokenizer", [ByteTokenizer, bpe])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qk_norm": False},
        {"tie_embeddings": False, "num_kv_heads": 4},
        {"qk_norm": False, "tie_embeddings": False, "num_kv_heads": 1, "rope_theta": 500.0},
        {"attention_every": 2, "norm_eps": 1e-3},
        {"attention_every": 3, "num_layers": 5, "conv_kernel": 4, "tie_embeddings": False},
    ],
)
def test_export_loads_in_plain_transformers(
    tmp_path: Path, changes: dict[str, object], make_tokenizer: Callable[[], Tokenizer]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    run = RunDir.create(tmp_path / "run", "textgen", {})
    model, tokenizer = random_model(**changes), make_tokenizer()
    save_model(run.model, model, tokenizer)
    out = tmp_path / "exported"
    assert str(out) in export(run.path, "hf", out)

    loaded = AutoModelForCausalLM.from_pretrained(out)
    kind = "LlamaForCausalLM" if changes.get("qk_norm") is False else "Qwen3ForCausalLM"
    kind = "Lfm2ForCausalLM" if "attention_every" in changes else kind
    assert type(loaded).__name__ == kind
    assert loaded.num_parameters() == model.num_parameters
    tokens = torch.randint(300, (3, 32), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(tokens).logits, model(tokens), atol=1e-4, rtol=0)
    theirs = AutoTokenizer.from_pretrained(out)
    assert theirs.encode(TEXT, add_special_tokens=False) == tokenizer.encode(TEXT).tolist()
    assert theirs.decode(tokenizer.encode("naïve 你好")) == "naïve 你好"
    assert theirs.eos_token_id == tokenizer.eot_id
    assert GenerationConfig.from_pretrained(out).eos_token_id == tokenizer.eot_id


def test_the_check_of_an_export_can_fail(saved: Path) -> None:
    model, tokenizer = load_model(saved)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] += 1.0
    with pytest.raises(RuntimeError, match="logits differ"):
        check_hf(saved, model, tokenizer)
    with pytest.raises(RuntimeError, match="other token ids"):
        check_hf(saved, random_model(), bpe())


def test_export_refuses_wrong_paths(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="to: got 'gguf'; give hf or onnx"):
        export(saved, "gguf", tmp_path / "out")
    with pytest.raises(UserError, match="output_dir: missing"):
        export(saved, "hf", None)
    with pytest.raises(UserError, match="is not empty"):
        export(saved, "hf", saved)
    with pytest.raises(UserError, match="no such run directory"):
        export(tmp_path / "nowhere", "hf", tmp_path / "out")
    run = RunDir.create(tmp_path / "run", "textgen", {})
    with pytest.raises(UserError, match=r"config\.json: missing; give a run that has finished"):
        export(run.path, "hf", tmp_path / "out")


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors")


def untie(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + 1
    save_file(weights, folder / "model.safetensors")


def quantize(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"].to(torch.int8)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"model\.safetensors: damaged or truncated"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "damaged or truncated"),
        (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors: missing"),
        (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json: missing"),
        (lambda f: (f / "tokenizer.json").write_text("{"), r"is not a tokenizer\.json"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json: not valid JSON"),
        (lambda f: change_config(f, model_type="gpt2"), "model_type is 'gpt2'"),
        (lambda f: change_config(f, hidden_act="gelu"), "hidden_act is 'gelu'"),
        (lambda f: change_config(f, head_dim=99), "head_dim is 99"),
        (lambda f: change_config(f, hidden_size=None), "no number for hidden_size"),
        (
            lambda f: change_config(f, intermediate_size=64),
            r"has shape \[32, 48\], config\.json says \[32, 64\] \(and 5 more\)",
        ),
        (lambda f: change_config(f, num_hidden_layers=1), "it has an unknown model.layers.1"),
        (drop_a_weight, r"model\.norm\.weight is missing; weights and"),
        (lambda f: change_config(f, vocab_size=100), "it has 256 tokens and the model only 100"),
        (lambda f: change_config(f, num_hidden_layers=10**6), r"is 1000000, and the weights have"),
        (lambda f: change_config(f, vocab_size=10**12), r"config\.json says \[1000000000000, 32\]"),
        (lambda f: change_config(f, max_position_embeddings=10**12), "more memory than there is"),
        (lambda f: change_config(f, auto_map={"AutoModel": "x.Y"}), "auto_map is {'AutoModel'"),
        (lambda f: change_config(f, quantization_config={"bits": 4}), "quantization_config is {"),
        (untie, r"lm_head\.weight is not the embedding"),
        (quantize, r"model\.norm\.weight is of type I8, a quantized one"),
    ],
)
def test_damage_is_one_clear_line(
    saved: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(saved)
    with pytest.raises(UserError, match=message) as caught:
        load_model(saved)
    assert len(caught.value.problems) == 1
    assert str(saved) in caught.value.problems[0]


def test_a_tied_matrix_that_is_there_twice_loads(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, saved / "model.safetensors")
    model, _ = load_model(saved)
    assert torch.equal(model.lm_head.weight, random_model().lm_head.weight)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        save_model(tmp_path / "file" / "model", random_model(), ByteTokenizer())
