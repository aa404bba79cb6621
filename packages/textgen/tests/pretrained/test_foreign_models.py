"""Models that others saved: without a tokenizer, with a token that begins a text, not causal, with
a state instead of a cache. What is right is computed by a plain loop over transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

import hvdcore.torch
from hvdcore.errors import UserError
from textgen.data.config import DataConfig
from textgen.data.prepare import prepare
from textgen.evaluation.evaluate import evaluate
from textgen.evaluation.quality.scorer import score_text
from textgen.generation.generate import generate
from textgen.generation.loop import generate_tokens
from textgen.generation.sampling import SamplingOptions
from textgen.model.causal_lm import CausalLM, quiet_transformers
from textgen.model.causality import continues_cache
from textgen.pretrained.hf_folder import load_causal_lm
from textgen.pretrained.load import ResolvedModel, open_model
from textgen.tokenizer.load import load_tokenizer
from textgen.tokenizer.tokenizer import END_OF_TEXT, SubwordTokenizer, train_bpe

TEXTS = ["the cat sat on the mat and the dog sat on the log, " * 8, "a dog and a cat met. " * 12]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 300}
TRANSFORMER = {**SMALL, "num_attention_heads": 2, "intermediate_size": 32}
GREEDY = SamplingOptions(temperature=0.0)


def llama_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """A byte-level BPE that puts <s> before a text and blanks as Llama does."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return made


def save(folder: Path, kind: str, **shape: Any) -> Path:
    config = getattr(transformers, f"{kind}Config")(**shape)
    name = {"OpenAIGPT": "OpenAIGPTLMHeadModel"}.get(kind, f"{kind}ForCausalLM")
    name = "BertLMHeadModel" if kind == "Bert" else name
    with torch.random.fork_rng(), torch.no_grad(), quiet_transformers():
        torch.manual_seed(0)
        model = getattr(transformers, name)(config)
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.2)
        model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama") / "model"
    llama_tokenizer(folder)
    return save(folder, "Llama", **TRANSFORMER, max_position_embeddings=256)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("GPTNeoX", TRANSFORMER),
        ("OPT", {**SMALL, "word_embed_proj_dim": 16, "num_attention_heads": 2, "ffn_dim": 32}),
        ("Llama", TRANSFORMER),
    ],
)
def test_a_model_without_a_tokenizer_is_refused(
    tmp_path: Path, kind: str, shape: dict[str, Any]
) -> None:
    folder = save(tmp_path / "m", kind, **shape)
    with pytest.raises(UserError, match=r"m/tokenizer\.json: missing, and so are vocab\.json"):
        open_model(folder)
    train_bpe(TEXTS, 280).save(folder)  # control: with one it opens
    assert open_model(folder).tokenizer.encode("the cat").size


def test_a_tokenizer_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    """As transformers writes one, where a model was saved with the empty tokenizer that it made."""
    empty = tokenizers.Tokenizer(models.BPE({"<unk>": 0}, [], unk_token="<unk>"))
    empty.add_special_tokens([END_OF_TEXT, "<pad>"])
    empty.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="encodes no text to ids that decode to it"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_of_another_script_is_accepted(tmp_path: Path) -> None:
    characters = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "天": 1, "地": 2}, "[UNK]"))
    characters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    characters.add_special_tokens([END_OF_TEXT])
    characters.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).encode("天地").tolist() == [1, 2]


def test_the_start_that_the_post_processor_puts(llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    theirs = transformers.AutoTokenizer.from_pretrained(llama)
    assert [*tokenizer.start_ids, *tokenizer.encode("the cat")] == theirs("the cat")["input_ids"]
    assert tokenizer.start_ids == (1,)
    assert tokenizer.eot_id == 2
    assert tokenizer.decode([1, *tokenizer.encode("the cat"), 2]) == "the cat"
    plain = train_bpe(TEXTS, 280)
    assert plain.start_ids == (plain.eot_id,)  # control: nothing put, end-of-text begins


def test_a_saved_tokenizer_keeps_its_start(llama: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(llama)
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert (loaded.start_ids, loaded.sha256) == (tokenizer.start_ids, tokenizer.sha256)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["bos_token"] == "<s>"
    backend = tokenizers.Tokenizer.from_file(str(llama / "tokenizer.json"))
    backend.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A $B", special_tokens=[]
    )
    assert SubwordTokenizer(backend, "</s>").sha256 != tokenizer.sha256  # other ids, another corpus


@torch.inference_mode()
def plain_nll(folder: Path, text: str) -> tuple[float, int]:
    """Negative log-likelihood and number of the tokens of `<s> text`, as transformers gives it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]
    loss = model(input_ids=ids, labels=ids).loss.double()
    count = ids.shape[1] - 1
    return float(loss) * count, count


def test_scores_are_those_of_a_plain_loop(llama: Path, tmp_path: Path) -> None:
    data, text = tmp_path / "data", TEXTS[0][:150]  # one window
    data.mkdir()
    (data / "one.txt").write_text(text, encoding="utf-8")
    opened = open_model(llama)
    config = DataConfig(
        data=str(data), tokenizer=str(llama), context_length=40, val_fraction=0, test_fraction=0
    )
    corpus = replace(prepare(config, cache_dir=tmp_path / "cache"), context_length=80)
    assert corpus.train.tokens[:1].tolist() == [1]
    blocks = corpus._blocks("train", keep_tail=True)
    world = hvdcore.torch.init()
    score = evaluate(opened.model, blocks, world, batch_size=4, num_bytes=len(text))
    nll, count = plain_nll(llama, text)
    assert score.num_tokens == count
    assert score.nll_sum == pytest.approx(nll, rel=1e-4)


def test_what_stands_between_documents_is_not_scored(llama: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number, text in enumerate(TEXTS):
        (data / f"{number}.txt").write_text(text, encoding="utf-8")
    config = DataConfig(
        data=str(data), tokenizer=str(llama), context_length=16, val_fraction=0, test_fraction=0
    )
    corpus = prepare(config, cache_dir=tmp_path / "cache")
    tokens = corpus.train.tokens.tolist()
    second = int(corpus.document_offsets("train")[1])
    assert tokens[0] == 1
    assert tokens[second - 1 : second + 1] == [2, 1]  # the one ends, the other begins
    blocks = corpus._blocks("train", keep_tail=True)
    scored = blocks.batch(range(len(blocks)))[1]
    assert (scored != -100).sum() == len(tokens) - 3  # all but the first start, the end, the start
    trained = corpus.train.batch(range(len(corpus.train)))[1]
    assert {1, 2} <= set(trained.ravel().tolist())  # a model has to learn where to stop


def test_prompts_begin_as_in_transformers(llama: Path) -> None:
    opened = open_model(llama)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(llama).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    prompts = ["the cat", "a dog sat"]
    texts = generate(opened.model, opened.tokenizer, prompts, max_new_tokens=12, greedy=True)
    for prompt, text in zip(prompts, texts, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        out = theirs.generate(ids, max_new_tokens=12, do_sample=False)
        # Prompt and continuation decoded together, so that a blank between them is kept.
        assert prompt + text == tokenizer.decode([i for i in out[0].tolist() if i not in (1, 2)])
    assert score_text(opened, "the", " cat").nll > 0


@pytest.mark.parametrize("prompts", [["the"], ["the", "a"]], ids=["one", "several"])
def test_the_first_blank_of_a_continuation_is_kept(llama: Path, prompts: list[str]) -> None:
    opened = open_model(llama)
    seen: dict[int, str] = {}
    texts = generate(
        opened.model, opened.tokenizer, prompts, max_new_tokens=8, seed=3,
        on_text=lambda number, text: seen.__setitem__(number, seen.get(number, "") + text),
    )  # fmt: skip
    assert texts == [seen.get(number, "") for number in range(len(prompts))]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("Bert", TRANSFORMER), ("Roberta", {**TRANSFORMER, "max_position_embeddings": 64})],
)
def test_a_model_that_sees_what_it_predicts_is_refused(
    tmp_path: Path, kind: str, shape: dict[str, Any]
) -> None:
    folder = save(tmp_path / "m", kind, **shape)
    with pytest.raises(UserError, match="is not causal"):
        load_causal_lm(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"is_decoder": True}))
    assert isinstance(load_causal_lm(folder), CausalLM)  # control: the same weights, masked


@pytest.mark.parametrize(
    ("kind", "shape", "cached"),
    [
        ("Mamba", {**SMALL, "state_size": 4}, False),
        ("Rwkv", {**SMALL, "attention_hidden_size": 16}, False),
        ("OpenAIGPT", {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 300}, False),
        ("Mistral", {**TRANSFORMER, "num_key_value_heads": 2}, True),
        # These keep a state inside of the cache of transformers.
        ("Mamba2", {**SMALL, "state_size": 8, "num_heads": 4, "head_dim": 8, "n_groups": 1}, True),
        (
            "Bamba",
            {
                **TRANSFORMER, "num_key_value_heads": 2, "attn_layer_indices": [1],
                "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 4,
            },
            True,
        ),
    ],
)  # fmt: skip
def test_steps_give_what_reading_all_at_once_gives(
    tmp_path: Path, kind: str, shape: dict[str, Any], cached: bool
) -> None:
    model = load_causal_lm(save(tmp_path / "m", kind, **shape))
    assert continues_cache(model) is cached
    prompts = [[9, 10, 11], [12, 13, 14, 15, 9]]
    got = generate_tokens(model, prompts, max_new_tokens=8, options=GREEDY)
    assert got == [plain_greedy(model, prompt, 8) for prompt in prompts]
    if hasattr(model.hf, "generate"):
        assert got == [their_greedy(model, prompt, 8) for prompt in prompts]


def their_greedy(model: CausalLM, prompt: list[int], count: int) -> list[int]:
    """By `generate` of transformers, which never ends a text here."""
    ids = torch.tensor([prompt])
    model.hf.generation_config.eos_token_id = None
    with quiet_transformers():
        out = model.hf.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip
    made: list[int] = out[0, len(prompt) :].tolist()
    return made


@torch.inference_mode()
def plain_greedy(model: CausalLM, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_a_config_without_a_bound_of_positions(tmp_path: Path) -> None:
    """XLNet writes -1 for it."""
    shape = {"vocab_size": 300, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}
    config = transformers.XLNetConfig(**shape)
    with quiet_transformers():
        transformers.XLNetLMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="xlnet is not causal"):
        load_causal_lm(tmp_path)


def test_packages_that_do_not_fit_are_no_damaged_model(tmp_path: Path) -> None:
    """A torchvision of another PyTorch: transformers can then import none of its models."""
    folder = save(tmp_path / "m", "GPTNeoX", **TRANSFORMER)
    packages = tmp_path / "packages"
    info = packages / "torchvision-0.28.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    (packages / "torchvision").mkdir()
    broken = "raise RuntimeError('operator torchvision::nms does not exist')\n"
    (packages / "torchvision" / "__init__.py").write_text(broken)
    load = (
        "from pathlib import Path\n"
        "from hvdcore.errors import user_errors_exit\n"
        "from textgen.pretrained.hf_folder import load_causal_lm\n"
        f"with user_errors_exit(): load_causal_lm(Path({str(folder)!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", load], env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2
    assert "cannot be imported here (RuntimeError: operator torchvision::nms" in done.stderr
    assert "copy the model again" not in done.stderr
    assert isinstance(load_causal_lm(folder), CausalLM)  # control: with the packages as they are


def test_more_layers_than_weights_are_refused_before_they_are_made(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "GPTNeoX", **TRANSFORMER)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**7}))
    with pytest.raises(UserError, match=r"num_hidden_layers is 10000000, and the weights have"):
        load_causal_lm(folder)


def test_generation_stops_at_each_of_the_models_end_tokens(llama: Path) -> None:
    """As transformers does: a chat model ends its turn with another token than a document."""
    opened = open_model(llama)
    assert opened.source.end_tokens == {2}
    whole = generate(opened.model, opened.tokenizer, ["the cat"], max_new_tokens=12, greedy=True)
    prompt = [1, *opened.tokenizer.encode("the cat").tolist()]
    new = generate_tokens(opened.model, [prompt], max_new_tokens=12, options=GREEDY)[0]
    stop = new[5]
    first = new.index(stop)
    seen: list[str] = []
    (text,) = generate(
        opened.model, opened.tokenizer, ["the cat"], max_new_tokens=12, greedy=True,
        end_tokens=[stop], on_text=lambda _, part: seen.append(part),
    )  # fmt: skip
    ids = [*prompt[1:], *new[:first]]
    assert "the cat" + text == opened.tokenizer.decode(ids)
    assert "".join(seen) == text != whole[0]  # control: without it the text goes on


def test_end_tokens_are_those_of_generation_config(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))
    assert ResolvedModel("m", tmp_path).end_tokens == {2, 7}
    (tmp_path / "generation_config.json").write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 5}))
    assert ResolvedModel("m", tmp_path).end_tokens == {5}
