"""Tokenizers: exact round trips, the same ids everywhere, nothing mistaken for end-of-text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from hvdcore.errors import UserError
from textgen.tokenizer.load import load_tokenizer
from textgen.tokenizer.tokenizer import (
    END_OF_TEXT,
    ByteTokenizer,
    SubwordTokenizer,
    Tokenizer,
    train_bpe,
)
from textgen.tokenizer.word_cache import cut_at_words

CORPUS = ["the cat sat on the mat, and the dog sat on the cat's mat.\n\n  It rained. " * 30]
BPE = train_bpe(CORPUS, 300)
# Blanks of every kind, separators that only some call blanks, and marks of several classes.
HARD = st.text(
    st.sampled_from(
        " \n\t\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u180e\u2003\u2028\u200b\ufeff'ab1.\u0301é²"
    ),
    max_size=40,
)
TEXT = st.one_of(HARD, st.text(st.characters(exclude_categories=["Cs"]), max_size=40))


@given(TEXT)
def test_bytes_are_ids(text: str) -> None:
    ids = ByteTokenizer().encode(text)
    assert ids.tolist() == list(text.replace("\0", "").encode())
    assert ByteTokenizer().decode(ids) == text.replace("\0", "")


@given(TEXT)
def test_bpe_round_trips(text: str) -> None:
    assert BPE.decode(BPE.encode(text)) == text


@given(st.lists(TEXT, min_size=1, max_size=8))
def test_word_by_word_gives_the_backends_ids(texts: list[str]) -> None:
    text = " ".join(texts)
    assert isinstance(BPE, SubwordTokenizer)
    assert BPE._words is not None
    assert BPE._words.encode(text).tolist() == BPE.encode(text).tolist()


@given(st.lists(TEXT, min_size=1, max_size=8), st.integers(1, 12))
def test_tokens_of_chunks_are_those_of_the_text(texts: list[str], size: int) -> None:
    text = "".join(texts)
    chunks = cut_at_words(text, size)
    assert "".join(chunks) == text
    ids = [token for chunk in chunks for token in BPE.encode(chunk).tolist()]
    assert ids == BPE.encode(text).tolist()


def test_a_long_text_takes_the_fast_way_to_the_same_ids() -> None:
    long = CORPUS[0] * 40
    assert isinstance(BPE, SubwordTokenizer)
    slow = BPE._encode_whole([long])[0]
    assert BPE.encode(long).tolist() == slow.tolist()


def test_the_cache_of_words_keeps_no_paragraphs() -> None:
    """A script without blanks has a word for each: the cache would hold the corpus."""
    long = "\n".join("天地玄黃" * number for number in range(1, 60)) + " rained" * 2000
    assert isinstance(BPE, SubwordTokenizer)
    assert BPE._words is not None
    assert BPE.encode(long).tolist() == BPE._encode_whole([long])[0].tolist()
    assert max(map(len, BPE._words._ids)) <= 64
    assert " rained" in BPE._words._ids


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=["byte", "bpe"])
def test_no_text_spells_end_of_text(tokenizer: Tokenizer) -> None:
    text = f"a{END_OF_TEXT}b"
    ids = tokenizer.encode(text)
    assert tokenizer.eot_id not in ids.tolist()
    assert tokenizer.decode(ids) == text
    with_end = np.concatenate([[tokenizer.eot_id], ids, [tokenizer.eot_id]])
    assert tokenizer.decode(with_end) == text


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=["byte", "bpe"])
def test_half_a_character_decodes(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("aé")
    assert tokenizer.decode(ids[:-1]) == "a\ufffd"


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=["byte", "bpe"])
def test_saved_and_loaded_it_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert type(loaded) is type(tokenizer)
    assert loaded.sha256 == tokenizer.sha256
    assert (loaded.vocab_size, loaded.eot_id) == (tokenizer.vocab_size, tokenizer.eot_id)
    assert loaded.encode(CORPUS[0]).tolist() == tokenizer.encode(CORPUS[0]).tolist()


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=["byte", "bpe"])
def test_plain_transformers_gives_the_same_ids(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    text = "  The cat's mât,\n\n\t数 \U0001f600 sat. " + "".join(map(chr, range(1, 256)))
    ids = tokenizer.encode(text).tolist()
    assert theirs(text)["input_ids"] == ids
    assert theirs.decode(ids) == text
    assert theirs.eos_token_id == theirs.bos_token_id == tokenizer.eot_id
    assert len(theirs) == tokenizer.vocab_size


def test_a_run_without_blanks_is_learned_in_chunks() -> None:
    """A merge reads each word whole that holds it: one word of megabytes would take hours."""
    run = "天地玄黃宇宙洪荒" * 40  # 320 characters
    texts = ["first " + run + " last", "short " * 9]
    chunks = ["first " + run[:256], run[256:] + " last", "short " * 9]
    assert train_bpe(texts, 300).sha256 == train_bpe(chunks, 300).sha256
    assert train_bpe(["a" * 256 + "b"] * 2, 258).sha256 == train_bpe(["a" * 256] * 2, 258).sha256


def test_bpe_depends_on_the_texts_alone() -> None:
    texts = [f"word{i % 7} and {i} more" for i in range(200)]
    first = train_bpe(texts, 320).sha256
    assert train_bpe(list(texts), 320).sha256 == first
    assert train_bpe(texts[::-1], 320).sha256 == first
    assert train_bpe([*texts[:-1], "other other other"], 320).sha256 != first
    assert train_bpe(CORPUS, 270).vocab_size == 270


def test_a_large_vocabulary_takes_four_bytes() -> None:
    vocab = {f"t{i}": i for i in range(70_000)} | {END_OF_TEXT: 70_000}
    backend = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token="t0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    big = SubwordTokenizer(backend, END_OF_TEXT)
    assert big.dtype == np.uint32
    assert big.encode("t69999 t5").tolist() == [69_999, 5]


def test_a_tokenizer_from_elsewhere(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1, "stop": 2}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="does not name its end-of-text token"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "stop"}}))
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert loaded.eot_id == 2
    assert loaded.encode("a b a").tolist() == [0, 1, 0]
    # Not known to cut words as GPT-2 does: texts of megabytes are cut, and at the end of a line.
    assert loaded.chunk_bytes == 1 << 22
    assert loaded.find_cut("\na b\na\n") == 1
    assert loaded.find_cut("a b a\n") is None


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("bite", "did you mean 'byte'"),
        ("/no/such/folder", "no such tokenizer"),
        ("./tok.json", "give byte, bpe, a path or a hub id"),
    ],
)
def test_an_unknown_tokenizer(name: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        load_tokenizer(name)


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": 1}')
    with pytest.raises(UserError, match=r"is not a tokenizer\.json"):
        load_tokenizer(path)


def test_too_small_a_vocabulary() -> None:
    with pytest.raises(UserError, match="bpe needs 257 or more"):
        train_bpe(["x"], 256)
