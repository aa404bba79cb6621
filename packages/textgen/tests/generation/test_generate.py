"""Generation against a full recomputation and against transformers, token by token."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import torch

from hvdcore.errors import UserError
from textgen.generation import batch as decode_batch
from textgen.generation.batch import window_start
from textgen.generation.decode_step import DecodeStep
from textgen.generation.decode_weights import DecodeWeights
from textgen.generation.generate import TextStream, generate, generate_command, read_prompts
from textgen.generation.kv_cache import KVCache, RowContent, prefill
from textgen.generation.loop import generate_tokens
from textgen.generation.sampling import SamplingOptions
from textgen.model.config import ModelConfig
from textgen.model.transformer import Transformer
from textgen.pretrained.saved_model import save_model
from textgen.tokenizer.tokenizer import ByteTokenizer

CONTEXT = 16
GREEDY = SamplingOptions(temperature=0)
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11], list(range(20)), [1, 2, 3]]


def random_model(**changes: object) -> Transformer:
    shape = {
        "vocab_size": 50, "context_length": CONTEXT, "num_layers": 3, "num_heads": 4,
        "num_kv_heads": 2, "embed_dim": 32, "mlp_dim": 48, **changes,
    }  # fmt: skip
    torch.manual_seed(0)
    model = Transformer(ModelConfig(**shape))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0, 0.2) if parameter.ndim == 1 else parameter.normal_(0.0, 0.3)
    return model.eval()


@torch.inference_mode()
def recomputed(model: Transformer, prompt: list[int], count: int) -> list[int]:
    """Greedy tokens, each from a forward pass over the row's whole window."""
    tokens, start = list(prompt), max(0, len(prompt) - CONTEXT)
    for _ in range(count):
        start = window_start(len(tokens), start, CONTEXT)
        tokens.append(int(model(torch.tensor([tokens[start:]]))[0, -1].argmax()))
    return tokens[len(prompt) :]


def test_windows_slide_by_half() -> None:
    starts, start = [], 0
    for length in range(1, 20):
        start = window_start(length, start, 8)
        starts.append(start)
    # Full at 8 tokens: the ninth keeps itself and the three before it.
    assert starts == [0] * 8 + [5] * 5 + [10] * 5 + [15]
    assert window_start(3, 1, 1) == 2


@pytest.mark.parametrize("num_kv_heads", [1, 4])
@pytest.mark.parametrize(
    "changes",
    [
        {"qk_norm": True},
        {"qk_norm": False},
        {"attention_every": 2},
        {"attention_every": 3, "conv_kernel": 5},
        {"attention_every": 2, "conv_kernel": 1},
    ],
)
def test_batch_is_single_is_recomputation(num_kv_heads: int, changes: dict[str, int]) -> None:
    tied = num_kv_heads == 1
    model = random_model(num_kv_heads=num_kv_heads, tie_embeddings=tied, **changes)
    count = 3 * CONTEXT  # every row slides several times, each at its own steps
    together = generate_tokens(model, PROMPTS, max_new_tokens=count, options=GREEDY)
    for prompt, tokens in zip(PROMPTS, together, strict=True):
        assert tokens == recomputed(model, prompt, count)
        assert generate_tokens(model, [prompt], max_new_tokens=count, options=GREEDY) == [tokens]


def test_without_the_mask_rows_do_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unmasked(KVCache):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            self.mask.zero_()

    model = random_model()
    expected = generate_tokens(model, PROMPTS, max_new_tokens=12, options=GREEDY)
    monkeypatch.setattr(decode_batch, "KVCache", Unmasked)
    assert generate_tokens(model, PROMPTS, max_new_tokens=12, options=GREEDY) != expected


def test_without_the_inputs_before_it_a_convolution_writes_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Forgetful(KVCache):
        def fill(self, row: int, content: RowContent) -> None:
            super().fill(row, content)
            self.inputs.zero_()

    model = random_model(attention_every=2)
    expected = generate_tokens(model, PROMPTS, max_new_tokens=12, options=GREEDY)
    monkeypatch.setattr(decode_batch, "KVCache", Forgetful)
    assert generate_tokens(model, PROMPTS, max_new_tokens=12, options=GREEDY) != expected


@pytest.mark.parametrize("changes", [{"qk_norm": True}, {"qk_norm": False}, {"attention_every": 2}])
@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_same_tokens_as_transformers(
    tmp_path: Path, changes: dict[str, int], penalty: float
) -> None:
    from transformers import AutoModelForCausalLM

    model = random_model(vocab_size=256, context_length=64, **changes)
    save_model(tmp_path / "model", model, ByteTokenizer())
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    options = SamplingOptions(temperature=0, repetition_penalty=penalty)
    ours = generate_tokens(model, PROMPTS, max_new_tokens=40, options=options)
    for prompt, tokens in zip(PROMPTS, ours, strict=True):
        ids = torch.tensor([prompt])
        found = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False,
            repetition_penalty=penalty, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        assert found[0, len(prompt) :].tolist() == tokens


@torch.inference_mode()
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("attention_every", [1, 2])
def test_logits_of_a_step_are_the_models(batch: int, attention_every: int) -> None:
    # Wide enough for every way to multiply.
    shape = {"embed_dim": 384, "mlp_dim": 512, "num_heads": 6, "vocab_size": 400}
    model = random_model(**shape, attention_every=attention_every)
    tokens = torch.randint(400, (batch, 9), generator=torch.Generator().manual_seed(1))
    windows = [tuple(row[:-1]) for row in tokens.tolist()]
    cache = KVCache(model.config, [8] * batch, 16, torch.device("cpu"))
    for row, window in enumerate(windows):
        cache.fill(row, prefill(model, windows)[window])
    logits = DecodeStep(DecodeWeights(model), cache)(tokens[:, -1])
    expected = model(tokens)[:, -1]
    torch.testing.assert_close(logits, expected, atol=2e-5 * float(expected.abs().max()), rtol=0)


def test_rows_stop_after_the_end_token() -> None:
    model = random_model()
    free = generate_tokens(model, PROMPTS, max_new_tokens=30, options=GREEDY)
    end = free[0][4]
    heard: list[tuple[int, int]] = []
    stopped = generate_tokens(
        model, PROMPTS, max_new_tokens=30, options=GREEDY, end_token=end,
        on_token=lambda row, token: heard.append((row, token)),
    )  # fmt: skip
    for full, prefix in zip(free, stopped, strict=True):
        length = full.index(end) + 1 if end in full else len(full)
        assert prefix == full[:length]
    for row, prefix in enumerate(stopped):
        assert [token for heard_row, token in heard if heard_row == row] == prefix
    assert len(stopped[0]) <= 5 < max(map(len, stopped))


def test_a_sample_depends_on_seed_and_row_alone() -> None:
    model, tokenizer = random_model(vocab_size=256), ByteTokenizer()

    def texts(seed: int, batch_size: int, prompts: list[str]) -> list[str]:
        return generate(
            model, tokenizer, prompts, max_new_tokens=20, top_k=40, top_p=0.9,
            repetition_penalty=1.1, num_samples=2, seed=seed, batch_size=batch_size,
        )  # fmt: skip

    expected = texts(1, 32, ["ab", "a long prompt, longer than the others"])
    assert texts(1, 1, ["ab", "a long prompt, longer than the others"]) == expected
    assert texts(1, 3, ["ab", "another"])[:2] == expected[:2]
    assert expected[0] != expected[1]
    assert texts(2, 32, ["ab"])[0] != expected[0]


def test_edges() -> None:
    model = random_model()
    assert generate_tokens(model, [], max_new_tokens=5) == []
    assert generate_tokens(model, [[1]], max_new_tokens=0) == [[]]
    with pytest.raises(UserError, match="prompt 2: it has no tokens"):
        generate_tokens(model, [[1], []], max_new_tokens=5)
    with pytest.raises(UserError, match=r"prompt 1: it has tokens outside of 0\.\.49"):
        generate_tokens(model, [[50]], max_new_tokens=5)
    tiny = random_model(context_length=1)
    assert len(generate_tokens(tiny, [[1, 2]], max_new_tokens=5, options=GREEDY)[0]) == 5


def test_stream_waits_for_whole_characters() -> None:
    tokenizer = ByteTokenizer()
    heard: list[str] = []
    stream = TextStream(tokenizer, [0, 65], 3, lambda number, text: heard.append(f"{number}{text}"))
    for token in "né€😀".encode() + b"\xf0\x9f!" + b"\xff":
        stream.add(token)
    stream.finish()
    assert heard == ["3n", "3é", "3€", "3😀", "3\ufffd!", "3\ufffd"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", random_model(vocab_size=256), ByteTokenizer())
    return tmp_path / "model"


def test_command_prints_what_generate_writes(saved: Path) -> None:
    model, tokenizer = random_model(vocab_size=256), ByteTokenizer()
    expected = generate(model, tokenizer, ["Hello"], max_new_tokens=30, greedy=True)[0]
    out = io.StringIO()
    settings = {"max_new_tokens": 30, "greedy": True, "device": "cpu", "stdout": out}
    assert generate_command(saved, prompt=["Hello"], **settings) == 0  # type: ignore[arg-type]
    assert out.getvalue() == f"Hello{expected}\n"
    out.truncate(out.seek(0))
    generate_command(saved, prompt=["Hello"], num_samples=2, **settings)  # type: ignore[arg-type]
    once = f"Hello{expected}\n"
    assert out.getvalue() == f"--- prompt 1, sample 1\n{once}--- prompt 1, sample 2\n{once}"


def test_prompts_come_from_arguments_standard_input_and_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffone\r\ntwo\n".encode())
    stdin = io.StringIO("typed\nlines\n")
    assert read_prompts(["first", "-"], path, stdin) == ["first", "typed\nlines", "one", "two"]
    assert read_prompts(None, None, stdin) == [""]
    raw = io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8")
    for given in (os.fsdecode(b"caf\xe9"), "-"):
        with pytest.raises(UserError, match="prompt: not UTF-8 text; convert it"):
            read_prompts([given], None, raw)
    path.write_bytes(b"\xff\xfe\x00")
    for wrong, message in (
        (path, "is not UTF-8 text"),
        (tmp_path / "none", "cannot read"),
        (tmp_path, "cannot read"),
    ):
        with pytest.raises(UserError, match=f"prompt_file: .*{message}"):
            read_prompts(None, wrong, stdin)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        read_prompts(None, path, stdin)
