"""Blocks: every token a target once, at any length, phase and batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.data.corpus import IGNORE, TokenBlocks, phase_of_epoch


def tokens(count: int) -> np.ndarray:
    return np.arange(100, 100 + count, dtype=np.uint16)


def test_training_blocks_are_full_and_leave_out_the_tail() -> None:
    blocks = TokenBlocks(tokens(9), context_length=3)
    assert len(blocks) == 2
    inputs, targets = blocks.batch([0, 1])
    assert inputs.tolist() == [[100, 101, 102], [103, 104, 105]]
    assert targets.tolist() == [[101, 102, 103], [104, 105, 106]]
    assert inputs.dtype == targets.dtype == np.int64


def test_evaluation_pads_its_last_block() -> None:
    blocks = TokenBlocks(tokens(9), context_length=3, keep_tail=True)
    assert len(blocks) == 3
    inputs, targets = blocks.block(2)
    assert targets.tolist() == [107, 108, IGNORE]
    assert inputs[:2].tolist() == [106, 107]


def test_a_phase_moves_the_first_block() -> None:
    blocks = TokenBlocks(tokens(9), context_length=3).at_phase(2)
    assert len(blocks) == 2
    assert blocks.block(0)[0].tolist() == [102, 103, 104]
    assert blocks.block(1)[1].tolist() == [106, 107, 108]


@given(
    count=st.integers(0, 60),
    context=st.integers(1, 9),
    phase=st.integers(0, 20),
    tail=st.booleans(),
)
def test_each_token_is_a_target_at_most_once(
    count: int, context: int, phase: int, tail: bool
) -> None:
    blocks = TokenBlocks(tokens(count), context, keep_tail=tail).at_phase(phase)
    _, targets = blocks.batch(range(len(blocks)))
    seen = targets[targets != IGNORE].tolist()
    first = blocks.phase + 1
    expected = list(range(100 + first, 100 + count))
    if not tail:
        expected = expected[: len(expected) // context * context]
    assert seen == expected
    assert blocks.num_targets == len(expected)


@given(count=st.integers(8, 60), context=st.integers(1, 7), order=st.randoms())
def test_a_batch_is_its_blocks_in_the_order_asked(count: int, context: int, order) -> None:  # type: ignore[no-untyped-def]
    blocks = TokenBlocks(tokens(count), context, keep_tail=True)
    indices = list(range(len(blocks)))
    order.shuffle(indices)
    inputs, targets = blocks.batch(indices)
    for row, index in enumerate(indices):
        one_input, one_target = blocks.block(index)
        assert inputs[row].tolist() == one_input.tolist()
        assert targets[row].tolist() == one_target.tolist()


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_outside_is_an_error(index: int) -> None:
    with pytest.raises(IndexError):
        TokenBlocks(tokens(9), context_length=3).batch([index])


def test_the_phase_depends_on_seed_and_epoch_alone() -> None:
    phases = [phase_of_epoch(64, seed, epoch) for seed in range(4) for epoch in range(50)]
    assert phases == [phase_of_epoch(64, seed, epoch) for seed in range(4) for epoch in range(50)]
    assert 0 <= min(phases) < 8
    assert 56 <= max(phases) < 64


def test_no_tokens_are_no_blocks() -> None:
    empty = TokenBlocks(np.empty(0, np.uint16), 4, keep_tail=True)
    assert len(empty) == 0
    assert empty.batch([])[0].shape == (0, 4)
