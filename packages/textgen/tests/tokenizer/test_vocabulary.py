"""Folders with tokenizer.model and no tokenizer.json, as the first Llama was published."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from textgen.pretrained.hub import _needed
from textgen.tokenizer.load import check_tokenizer_files, load_tokenizer

TEXTS = ["the cat sat on the mat and the dog sat on the log", "a dog and a cat met"] * 20
TIKTOKEN = b"".join(base64.b64encode(bytes([n])) + b" %d\n" % n for n in range(256))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (
            b"\n\x0e\n\x05<unk>\x15\0\0\0\0",
            "a SentencePiece vocabulary.*pip install sentencepi",
        ),
        (TIKTOKEN, "a tiktoken vocabulary.*pip install tiktoken, or copy tokenizer.json"),
        (b"", "it is empty"),
    ],
    ids=["sentencepiece", "tiktoken", "empty"],
)
def test_what_reads_the_vocabulary_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, named: str
) -> None:
    for module in ("sentencepiece", "tiktoken"):
        monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(UserError, match=f"{tmp_path}/tokenizer.model: {named}") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "vocab.json").touch()
    check_tokenizer_files(tmp_path)  # control: another vocabulary is there


def test_a_hub_model_with_a_sentencepiece_file_alone_is_downloaded_with_it() -> None:
    names = {"config.json", "model.safetensors", "tokenizer.model", "README.md"}
    assert _needed(names) == ("config.json", "model.safetensors", "tokenizer.model")
    assert "tokenizer.model" not in _needed(names | {"tokenizer.json"}), "control"


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_ids_are_those_of_sentencepiece(tmp_path: Path, kind: str) -> None:
    theirs = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    path = tmp_path / "tokenizer.model"
    with path.open("wb") as file:
        theirs.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS), model_writer=file, vocab_size=40, model_type=kind,
            hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    wanted = theirs.SentencePieceProcessor(model_file=str(path))
    made = load_tokenizer(tmp_path)
    assert [made.encode(text).tolist() for text in TEXTS[:2]] == wanted.encode(TEXTS[:2])
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"tokenizer\.model: SentencePiece cannot read it"):
        load_tokenizer(tmp_path)
