"""Splits: documents by content, few documents by size, one by position."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvdcore.errors import UserError
from textgen.data.splits import cut_points, split_documents


def digests(count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % i).digest() for i in range(count)]


def cuts(text: bytes, val: float, test: float) -> tuple[int, int]:
    return cut_points(len(text), lambda start, stop: text[start:stop], val, test)


def test_many_documents_are_split_by_their_hash_alone() -> None:
    many = digests(2000)
    split = split_documents(many, [10] * 2000, val_fraction=0.1, test_fraction=0.2)
    assert split.method == "hash"
    assert 150 < len(split.val) < 250
    assert 340 < len(split.test) < 460
    # A document stays in its split when others are added or removed.
    kept = list(range(0, 2000, 2))
    half = split_documents(
        [many[i] for i in kept], [10] * 1000, val_fraction=0.1, test_fraction=0.2
    )
    assert {kept[i] for i in half.val} == set(split.val) & set(kept)


def test_the_seed_draws_another_split() -> None:
    many = digests(500)
    splits = [
        split_documents(many, [1] * 500, val_fraction=0.2, test_fraction=0, seed=seed).val
        for seed in (0, 1)
    ]
    assert splits[0].tolist() != splits[1].tolist()


@given(
    sizes=st.lists(st.integers(1, 1000), min_size=1, max_size=40),
    val=st.sampled_from([0.0, 0.05, 0.1, 0.4]),
    test=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_every_document_goes_to_one_split_and_no_wanted_split_is_empty(
    sizes: list[int], val: float, test: float
) -> None:
    split = split_documents(digests(len(sizes)), sizes, val_fraction=val, test_fraction=test)
    wanted = {"train", *(["val"] if val else []), *(["test"] if test else [])}
    for name in ("train", "val", "test"):
        assert bool(len(split.of(name))) == (name in wanted)
    if split.method != "position":
        together = sorted([*split.train, *split.val, *split.test])
        assert together == list(range(len(sizes)))
    else:
        assert len(sizes) < len(wanted) or len(wanted) == len(sizes) == 1


def test_few_documents_are_filled_by_size() -> None:
    # 10 % of 1,000 bytes fit into val; no draw of hashes may leave it empty.
    sizes = [100, 90, 300, 310, 200]
    split = split_documents(digests(5), sizes, val_fraction=0.1, test_fraction=0)
    assert sum(sizes[i] for i in split.val) in (90, 100)
    assert len(split.test) == 0


def test_one_document_is_cut_as_nanogpt_cuts() -> None:
    assert cuts(b"x" * 1_115_394, 0.1, 0) == (1_003_854, 1_003_854)
    assert cuts(b"x" * 100, 0.2, 0.1) == (70, 80)
    assert cuts(b"x" * 100, 0, 0.1) == (90, 100)
    assert cuts(b"x" * 100, 0, 0) == (100, 100)


@given(text=st.text(min_size=1, max_size=50), val=st.floats(0, 0.5), test=st.floats(0, 0.4))
def test_a_cut_never_falls_inside_a_character(text: str, val: float, test: float) -> None:
    raw = text.encode("utf-8", "replace")
    first, second = cuts(raw, val, test)
    assert 0 <= first <= second <= len(raw)
    for text in (raw[:first], raw[first:second], raw[second:]):
        text.decode("utf-8")


@pytest.mark.parametrize(
    ("val", "test", "named"),
    [(1.0, 0.0, "val_fraction"), (0.1, -0.1, "test_fraction"), (0.5, 0.5, "nothing to train on")],
)
def test_impossible_fractions(val: float, test: float, named: str) -> None:
    with pytest.raises(UserError, match=named):
        split_documents(digests(5), [1] * 5, val_fraction=val, test_fraction=test)
