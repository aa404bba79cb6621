"""Tokens of any script, and which of them get a number."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from news_cls.data.clean import clean
from news_cls.data.tokens import UNKNOWN, Lexicon, choose_words, encode, lower, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("AT&T's profit: $3.5", ["AT", "&", "t", "'", "s", "profit", ":", "$", "3", ".", "5"]),
        ("a_b--c", ["a", "_", "b", "-", "-", "c"]),
        ("Ärger in ÎLE-de-France", ["ärger", "in", "île", "-", "de", "-", "france"]),
        (
            "US and us, IT or It, a G8 in NYC",
            ["US", "and", "us", ",", "IT", "or", "it", ",", "a", "g8", "in", "NYC"],
        ),
        ("Москва, Киев", ["москва", ",", "киев"]),
        ("ΟΔΟΣ οδός", ["οδοσ", "οδόσ"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया", "।"]),
        ("مرحبا، عالم", ["مرحبا", "،", "عالم"]),
        ("北京2008", ["北", "京", "2008"]),
        ("ニュース です", ["ニュース", "で", "す"]),
        ("good🙂👍🏽", ["good", "🙂", "👍", "🏽"]),
        ("", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@given(st.text())
def test_nothing_but_spaces_is_lost(text: str) -> None:
    cleaned, _ = clean(text)
    assert lower("".join(tokenize(cleaned))) == lower(cleaned).replace(" ", "")


def test_letters_make_words_and_marks_stand_alone() -> None:
    """By Unicode's own categories, for every character below the rare scripts."""
    wrong = []
    for code in [*range(0x21, 0x7F), *range(0xA1, 0x1380), *range(0x2010, 0x2E2E)]:
        # Raised figures, fractions and letter-like symbols are singles, whatever Unicode says; a
        # backslash is residue.
        if 0xB2 <= code <= 0xBE or 0x2070 <= code < 0x2C00 or chr(code) == "\\":
            continue
        category = unicodedata.category(chr(code))[0]
        num_tokens = len(tokenize(clean(f"a{chr(code)}b")[0]))
        if category in "LMPS" and num_tokens != (1 if category in "LM" else 3):
            wrong.append(hex(code))
    assert wrong == []


def test_words_are_chosen_by_frequency_and_then_by_text() -> None:
    tokens = ["b", "the", "a", "rare", "unseen"]
    counts = np.array([2, 5, 2, 1, 0])
    assert choose_words(tokens, counts, 100).tolist() == [1, 2, 0, 3]
    assert choose_words(tokens, counts, 4).tolist() == [1, 2]
    assert choose_words(tokens, counts, 2).tolist() == []


def test_encoding() -> None:
    ids = {"the": 2, "cat": 3}
    encoded = encode(["the", "blue", "cat", "the"], ids, 3)
    assert encoded.tolist() == [2, UNKNOWN, 3]
    assert encode(["THE", "BLUE", "US", "us"], {**ids, "US": 4}, 9).tolist() == [2, 1, 4, 1]
    assert encoded.dtype == np.int32


def test_the_lexicon_numbers_by_first_coming() -> None:
    lexicon = Lexicon()
    assert lexicon.numbers(["b", "a", "b"]).tolist() == [0, 1, 0]
    assert lexicon.numbers(["c", "a"]).tolist() == [2, 1]
    assert list(lexicon) == ["b", "a", "c"]
