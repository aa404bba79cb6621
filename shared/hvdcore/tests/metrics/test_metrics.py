"""Measured numbers with closed forms, and sums that cross ranks."""

from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvdcore.metrics.metrics import Totals, bits_per_byte, max_over_ranks, perplexity
from hvdcore.runtime.world import World

Array = npt.NDArray[np.float64]


def reduce_all(ranks: list[Totals]) -> None:
    """What an allreduce does: every rank ends with the sum over the ranks."""
    sent: list[Array] = []

    def record(array: Array) -> Array:
        sent.append(array.copy())
        return array

    for totals in [Totals.from_json(t.to_json()) for t in ranks]:
        totals.reduce(record)
    total = np.sum(sent, axis=0)
    for totals in ranks:
        totals.reduce(lambda _: total)


def test_mean_of_uneven_ranks_is_not_the_mean_of_means() -> None:
    first, second, empty = Totals("loss"), Totals("loss"), Totals("loss")
    first.add("loss", 10.0, 1)
    second.add("loss", 2.0, 2)
    second.add("loss", 0.0, 1)
    reduce_all([first, second, empty])
    assert first.mean("loss") == second.mean("loss") == empty.mean("loss") == 3.0
    mean_of_means = (10.0 + 2.0 / 3) / 2
    assert first.mean("loss") != mean_of_means


@given(
    st.lists(
        st.tuples(st.integers(-(2**40), 2**40), st.integers(0, 2**40)), min_size=1, max_size=12
    ),
    st.integers(1, 5),
)
def test_any_cut_gives_the_same_sums(pairs: list[tuple[int, int]], size: int) -> None:
    whole = Totals("loss")
    ranks = [Totals("loss") for _ in range(size)]
    for number, (total, count) in enumerate(pairs):
        whole.add("loss", total, count)
        ranks[number % size].add("loss", total, count)
    reduce_all(ranks)
    # Integers below 2**53 are exact in float64, so no tolerance is needed.
    assert (ranks[-1].sum("loss"), ranks[-1].count("loss")) == (
        whole.sum("loss"),
        whole.count("loss"),
    )


def test_one_allreduce_of_float64_in_the_order_of_names() -> None:
    calls: list[Array] = []

    def spy(array: Array) -> Array:
        calls.append(array)
        return array

    totals = Totals("z", "a")
    totals.add("z", 2**53 - 1, 3)
    totals.add("b", 1.5, 2)
    totals.reduce(spy)
    assert len(calls) == 1
    assert calls[0].dtype == np.float64
    assert calls[0][2:].tolist() == [0.0, 0.0, 1.5, 2.0, 2**53 - 1, 3.0]
    assert list(totals) == ["a", "b", "z"]


def test_ranks_with_other_names_are_an_error_not_a_mix() -> None:
    totals, other = Totals("loss"), Totals("hits")

    def from_two_ranks(array: Array) -> Array:
        sent: list[Array] = []
        Totals.from_json(other.to_json()).reduce(lambda a: sent.append(a) or a)  # type: ignore[func-returns-value]
        return np.asarray(array + sent[0])

    with pytest.raises(RuntimeError, match="different metrics"):
        totals.reduce(from_two_ranks)


def test_nothing_counted_has_no_mean() -> None:
    with pytest.raises(ZeroDivisionError, match="'loss'"):
        Totals("loss").mean("loss")
    with pytest.raises(ZeroDivisionError):
        perplexity(0.0, 0)
    with pytest.raises(ZeroDivisionError):
        bits_per_byte(1.0, 0)


def test_kept_in_a_checkpoint() -> None:
    totals = Totals("loss", "hits")
    totals.add("loss", 0.1, 3)
    back = Totals.from_json(json.loads(json.dumps(totals.to_json())))
    assert back.to_json() == totals.to_json() == {"loss": [0.1, 3.0], "hits": [0.0, 0.0]}


def test_means() -> None:
    totals = Totals()
    totals.add("a", 3, 2)
    totals.add("b", 8, 2)
    assert totals.means() == {"a": 1.5, "b": 4.0}


def test_perplexity_of_a_uniform_guess_is_the_vocabulary() -> None:
    assert perplexity(1000 * math.log(256), 1000) == pytest.approx(256, rel=1e-12)
    assert perplexity(0.0, 10) == 1.0
    assert perplexity(1e6, 1) == math.inf


def test_bits_per_byte() -> None:
    # 256 equally likely bytes need 8 bits each.
    assert bits_per_byte(100 * math.log(256), 100) == pytest.approx(8.0, rel=1e-12)
    # Two tokens of ln 16 nats for eight bytes: 8 bits / 8 bytes.
    assert bits_per_byte(2 * math.log(16), 8) == pytest.approx(1.0, rel=1e-12)


def test_the_largest_of_the_ranks_values() -> None:
    others = np.array([0.0, 7.5, 3.0])
    found = max_over_ranks(2.0, World(0, 3, 0, 3, "gloo"), lambda mine: mine + others)
    assert found == 7.5
