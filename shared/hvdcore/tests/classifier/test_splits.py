"""Splits and subsets, with counts worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hvdcore.classifier.prepared import prepare_summary
from hvdcore.classifier.splits import Row, split_rows, stratified_subset, subsample
from hvdcore.errors import UserError


def test_no_sample_is_in_two_splits() -> None:
    rows = [Row(i, i % 3, None, f"{(i * 7919) % 997:04d}") for i in range(90)]
    splits = split_rows(rows, val_fraction=0.2, test_fraction=0.1).splits
    seen = [row.sha256 for split in splits.values() for row in split]
    assert len(seen) == len(set(seen)) == 90
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 63, "val": 18, "test": 9,
    }  # fmt: skip


def test_a_class_of_one_sample_stays_in_train() -> None:
    rows = [Row(i, 0, None, f"{i}") for i in range(4)] + [Row(4, 1, None, "9")]
    splits = split_rows(rows, val_fraction=0.4, test_fraction=0.4).splits
    assert [row.label for row in splits["train"]].count(1) == 1


def test_splits_of_the_data_are_kept_and_copies_left_out() -> None:
    rows = [
        Row(0, 0, "train", "a"), Row(1, 0, "train", "a"), Row(2, 1, "train", "b"),
        Row(3, 0, "test", "a"), Row(4, 1, "test", "c"), Row(5, 0, "val", "d"),
        Row(6, 1, "test", "d"),
    ]  # fmt: skip
    result = split_rows(rows, val_fraction=0.5, test_fraction=0.5)
    numbers = {name: [row.number for row in split] for name, split in result.splits.items()}
    # Sample d has two labels, and val is then taken from train, which keeps one of each class.
    assert numbers == {"train": [0, 2], "val": [], "test": [4]}
    assert result.left_out == {
        "duplicates": 1, "two_classes": 2, "val_in_train": 0, "test_in_train": 1,
    }  # fmt: skip
    assert result.sizes() == {"train": 2, "val": 0, "test": 1}
    assert result.class_counts(("x", "y"))["train"] == {"x": 1, "y": 1}


def test_subsample_by_hand() -> None:
    assert subsample(10, 4).tolist() == [0, 2, 5, 7]
    assert subsample(3, 9).tolist() == [0, 1, 2]
    assert subsample(0, 1).tolist() == []


def test_stratified_subset_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 2, 1])
    found = [stratified_subset(labels, n, field="num", samples="points").tolist() for n in (3, 5)]
    assert found == [[0, 3, 4], [0, 1, 3, 4, 5]]
    with pytest.raises(UserError, match="num: 7 of only 6 points; give 6 or less"):
        stratified_subset(labels, 7, field="num", samples="points")


def test_classes_that_a_split_has_no_sample_of_are_told() -> None:
    meta = {
        "parts": {"train": 4, "val": 1, "test": 0},
        "classes_of_parts": {"val": {"cat": 1, "d\x1bog": 0}, "test": {"cat": 0, "d\x1bog": 0}},
        "skipped": {}, "left_out": {}, "notes": {},
    }  # fmt: skip
    line = prepare_summary("images", meta, "2 classes")
    assert line == r"images: train 4, val 1, test 0 in 2 classes; no val images of d\x1bog"
    meta["classes_of_parts"]["val"]["d\x1bog"] = 1  # type: ignore[index]
    assert prepare_summary("images", meta, "2").endswith("test 0 in 2"), "control"
