"""Resuming in the middle: the same samples in the same order, on any number of ranks."""

from __future__ import annotations

import json
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvdcore.sharding import Position, Tail, epoch_order, train_steps


def global_steps(
    n: int, batch: int, size: int, steps: int, start: Position | None, tail: Tail
) -> tuple[list[list[int]], list[Position]]:
    """Each step's samples of all ranks in order, and the positions after the steps."""
    ranks = [
        list(
            islice(
                train_steps(
                    n,
                    global_batch_size=batch,
                    seed=3,
                    rank=rank,
                    size=size,
                    start=start,
                    tail=tail,
                ),
                steps,
            )
        )
        for rank in range(size)
    ]
    batches = [[int(i) for rank in ranks for i in rank[s].indices] for s in range(steps)]
    for rank in ranks:
        assert [step.position for step in rank] == [step.position for step in ranks[0]]
    assert [len(b) for b in batches] == [step.num_samples for step in ranks[0]]
    return batches, [step.position for step in ranks[0]]


def test_steps_by_hand() -> None:
    order = epoch_order(5, 0, 0).tolist()
    steps = list(islice(train_steps(5, global_batch_size=2, seed=0), 4))
    assert [s.indices.tolist() for s in steps[:3]] == [
        order[:2],
        order[2:4],
        [order[4], order[0]],
    ]
    assert [s.position for s in steps] == [
        Position(0, 1, 2),
        Position(0, 2, 4),
        Position(1, 0, 6),
        Position(1, 1, 8),
    ]
    assert [s.ends_epoch for s in steps] == [False, False, True, False]
    assert [s.epoch for s in steps] == [0, 0, 0, 1]


def test_short_and_dropped_tails_count_what_was_trained_on() -> None:
    short = list(islice(train_steps(5, global_batch_size=2, seed=0, tail="short"), 3))
    assert [s.num_samples for s in short] == [2, 2, 1]
    assert short[-1].position == Position(1, 0, 5)
    dropped = list(islice(train_steps(5, global_batch_size=2, seed=0, drop_last=True), 3))
    assert [s.position for s in dropped] == [
        Position(0, 1, 2),
        Position(1, 0, 4),
        Position(1, 1, 6),
    ]


@given(
    n=st.integers(1, 40),
    multiple=st.integers(1, 3),
    sizes=st.tuples(st.sampled_from([1, 2, 3, 4, 6]), st.sampled_from([1, 2, 3, 4, 6])),
    stop=st.integers(1, 12),
    tail=st.sampled_from(["wrap", "short"]),
)
def test_resumed_on_another_number_of_ranks(
    n: int, multiple: int, sizes: tuple[int, int], stop: int, tail: Tail
) -> None:
    batch = 12 * multiple  # a multiple of every size
    whole, positions = global_steps(n, batch, sizes[0], stop + 8, None, tail)
    kept = Position.from_json(json.loads(json.dumps(positions[stop - 1].to_json())))
    rest, _ = global_steps(n, batch, sizes[1], 8, kept, tail)
    assert rest == whole[stop:]


def test_control_another_seed_changes_the_order() -> None:
    one = next(train_steps(40, global_batch_size=12, seed=3))
    other = next(train_steps(40, global_batch_size=12, seed=4))
    assert one.indices.tolist() != other.indices.tolist()


def test_fewer_samples_left_than_half_the_ranks() -> None:
    # Horovod's ElasticSampler fails here: 1 sample remains for 4 ranks.
    batches, positions = global_steps(9, 8, 4, 2, None, "short")
    assert len(batches[1]) == 1
    assert positions[1] == Position(1, 0, 9)


def test_a_position_beyond_the_epoch_is_refused() -> None:
    with pytest.raises(ValueError, match="step 5 of epoch 0 is beyond its 2 steps"):
        next(train_steps(4, global_batch_size=2, seed=0, start=Position(0, 5, 10)))
    with pytest.raises(ValueError, match="beyond its 0 steps"):
        next(train_steps(1, global_batch_size=2, seed=0, drop_last=True))
