"""Sliding windows and words: every token is scored once, with the context that it should have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.data import encode
from textgen.data.corpus import SlidingWindows, TokenBlocks
from textgen.data.encode import WordCount, count_words
from textgen.model.config import IGNORE_INDEX

_ = IGNORE_INDEX  # short, for tables of targets


def blocks_of(num_tokens: int, context_length: int) -> TokenBlocks:
    tokens = np.arange(num_tokens, dtype=np.uint16)
    return TokenBlocks(tokens, context_length, keep_tail=True)


def test_windows_by_hand() -> None:
    """Ten tokens in windows of four that move by two: 4 + 2 + 2 targets, and one in the last."""
    windows = SlidingWindows(blocks_of(10, 4), 2)
    inputs, targets = windows.batch(range(len(windows)))
    assert inputs.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert targets.tolist() == [[1, 2, 3, 4], [_, _, 5, 6], [_, _, 7, 8], [_, _, 9, _]]


def test_a_stride_of_the_context_gives_the_blocks() -> None:
    blocks = blocks_of(23, 5)
    windows = SlidingWindows(blocks, 5)
    assert len(windows) == len(blocks)
    for ours, theirs in zip(windows.batch(range(5)), blocks.batch(range(5)), strict=True):
        assert (ours == theirs).all()


@given(st.integers(0, 60), st.integers(1, 12), st.data())
def test_every_token_but_the_first_is_scored_once(
    num_tokens: int, context_length: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, context_length))
    windows = SlidingWindows(blocks_of(num_tokens, context_length), stride)
    if not len(windows):
        assert num_tokens <= 1
        return
    inputs, targets = windows.batch(range(len(windows)))
    scored = targets != IGNORE_INDEX
    assert sorted(targets[scored].tolist()) == list(range(1, num_tokens))
    assert (inputs[scored] + 1 == targets[scored]).all()
    assert scored.any(axis=1).all()  # no window is computed for nothing
    context = np.arange(context_length)[None].repeat(len(windows), 0)[1:][scored[1:]]
    assert (context >= context_length - stride).all()


@pytest.mark.parametrize("stride", [0, 5])
def test_a_stride_outside_of_the_window(stride: int) -> None:
    with pytest.raises(ValueError, match="give 1 to 4, the context length"):
        SlidingWindows(blocks_of(10, 4), stride)


@given(st.text(alphabet="ab \n\t\u00a0\u2003é", max_size=60), st.integers(1, 7))
def test_words_are_those_of_split(text: str, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "_SPLIT_CHARACTERS", at_once)
        assert count_words(text) == len(text.split())


def test_a_word_that_is_cut_counts_once() -> None:
    """Ten words, cut anywhere into two tasks of two chunks each; another document follows."""
    text = "It was  a bright cold day\nin April, and naïve."
    for cut in range(len(text) + 1):
        total = WordCount()
        for text_of_task, opens in ((text[:cut], True), (text[cut:], False)):
            task = WordCount()
            half = len(text_of_task) // 2
            task.add(text_of_task[:half], opens=opens)
            task.add(text_of_task[half:], opens=opens and half == 0)
            total.join(task)
        assert total.num_words == count_words(text) == 10
        following = WordCount()
        following.add("Next", opens=True)
        total.join(following)
        assert total.num_words == 11
