"""Blocks: every token a target once, at any length, phase and batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.data.corpus import TokenBlocks, TrainBlocks
from textgen.model.config import IGNORE_INDEX


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
    inputs, targets = blocks.batch([2])
    assert targets.tolist() == [[107, 108, IGNORE_INDEX]]
    assert inputs[:, :2].tolist() == [[106, 107]]


def test_a_phase_moves_the_first_block() -> None:
    blocks = TokenBlocks(tokens(9), context_length=3, phase=2)
    assert len(blocks) == 2
    inputs, targets = blocks.batch([0, 1])
    assert inputs.tolist() == [[102, 103, 104], [105, 106, 107]]
    assert targets.tolist() == [[103, 104, 105], [106, 107, 108]]


@given(
    count=st.integers(0, 60),
    context=st.integers(1, 9),
    phase=st.integers(0, 20),
    tail=st.booleans(),
)
def test_each_token_is_a_target_at_most_once(
    count: int, context: int, phase: int, tail: bool
) -> None:
    blocks = TokenBlocks(tokens(count), context, phase, keep_tail=tail)
    _, targets = blocks.batch(range(len(blocks)))
    seen = targets[targets != IGNORE_INDEX].tolist()
    first = blocks.phase + 1
    expected = list(range(100 + first, 100 + count))
    if not tail:
        expected = expected[: len(expected) // context * context]
    assert seen == expected


@given(count=st.integers(8, 60), context=st.integers(1, 7), order=st.randoms())
def test_a_batch_is_its_blocks_in_the_order_asked(count: int, context: int, order) -> None:  # type: ignore[no-untyped-def]
    blocks = TokenBlocks(tokens(count), context, keep_tail=True)
    indices = list(range(len(blocks)))
    order.shuffle(indices)
    inputs, targets = blocks.batch(indices)
    for row, index in enumerate(indices):
        start = index * context
        held = tokens(count)[start : start + context + 1].tolist()
        assert inputs[row][: len(held) - 1].tolist() == held[:context][: len(held) - 1]
        assert targets[row][: len(held) - 1].tolist() == held[1:]
        assert set(targets[row][len(held) - 1 :].tolist()) <= {IGNORE_INDEX}


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_outside_is_an_error(index: int) -> None:
    with pytest.raises(IndexError):
        TokenBlocks(tokens(9), context_length=3).batch([index])


def starts(blocks: TrainBlocks, epoch: int) -> list[int]:
    """The first token of each block of an epoch."""
    inputs, _ = blocks.batch(epoch, range(len(blocks)))
    return [int(first) - 100 for first in inputs[:, 0]]


def test_epochs_start_their_blocks_elsewhere_by_hand() -> None:
    """30 tokens in blocks of 8: three blocks at the phases 0 to 5, two at 6 and 7, so that an epoch
    has two."""
    blocks = TrainBlocks(TokenBlocks(tokens(30), 8), seed=3)
    assert len(blocks) == 2
    drawn = [int(np.random.default_rng([3, epoch, 0x9A5E]).integers(8)) for epoch in range(40)]
    assert [starts(blocks, epoch) for epoch in range(40)] == [[p, p + 8] for p in drawn]
    assert set(drawn) == set(range(8))


def test_a_corpus_of_a_block_and_a_bit_has_few_phases() -> None:
    """11 tokens, blocks of 8: ten targets, so that a block may start at 0, 1 or 2."""
    blocks = TrainBlocks(TokenBlocks(tokens(11), 8), seed=0)
    assert len(blocks) == 1
    assert {phase for epoch in range(60) for phase in starts(blocks, epoch)} == {0, 1, 2}


def test_other_seeds_and_other_epochs_start_elsewhere() -> None:
    """Fixed figures: a change of the draw would change every resumed run."""
    blocks = {seed: TrainBlocks(TokenBlocks(tokens(600), 64), seed) for seed in (0, 1)}
    found = {seed: [blocks[seed].phase(epoch) for epoch in range(6)] for seed in (0, 1)}
    assert found == {0: [28, 3, 6, 20, 13, 13], 1: [51, 39, 8, 38, 10, 34]}


def test_no_tokens_are_no_blocks() -> None:
    empty = TokenBlocks(np.empty(0, np.uint16), 4, keep_tail=True)
    assert len(empty) == 0
    assert empty.batch([])[0].shape == (0, 4)
