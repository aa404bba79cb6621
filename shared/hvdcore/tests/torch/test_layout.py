"""Owners and offsets of parameters, against assignments worked out by hand."""

from __future__ import annotations

import pytest

from hvdcore.torch.buckets import Item, Layout, assign_owners, default_bucket_elements, plan_layout
from hvdcore.torch.hardware import elementwise_cost, newton_schulz_cost


def test_dearest_first_to_the_least_loaded() -> None:
    # 7 -> 0, 5 -> 1, 4 -> 1 (9), 3 -> 0 (10), 2 -> 1 (11), 1 -> 0 (11)
    assert assign_owners([1, 5, 7, 2, 4, 3], 2) == [0, 1, 0, 1, 1, 0]


def test_equal_costs_go_round() -> None:
    assert assign_owners([1, 1, 1, 1, 1], 3) == [0, 1, 2, 0, 1]


def test_one_rank_owns_all_and_more_ranks_than_items_leave_some_idle() -> None:
    assert assign_owners([3, 1, 2], 1) == [0, 0, 0]
    assert assign_owners([3, 1], 4) == [0, 1]


def offsets(layout: Layout) -> dict[str, tuple[int, int]]:
    return {slot.name: (slot.bucket, slot.offset) for slot in layout.slots}


def test_parts_follow_each_other_aligned() -> None:
    items = [Item("a", (3, 5), 15), Item("b", (17,), 17), Item("c", (), 1)]
    layout = plan_layout(items, size=2)
    assert offsets(layout) == {"a": (0, 48), "b": (0, 0), "c": (0, 32)}
    assert [slot.name for slot in layout.slots] == ["a", "b", "c"]
    (bucket,) = layout.buckets
    assert (bucket.part(0), bucket.part(1)) == (slice(0, 32), slice(32, 64))
    assert (layout.numel, bucket.splits) == (64, [32, 32])
    assert [[layout.rows_of(slot, rank) for slot in layout.slots] for rank in (0, 1)] == [
        [None, range(17), None],
        [range(3), None, range(1)],
    ]


def test_an_idle_ranks_part_is_empty() -> None:
    (bucket,) = plan_layout([Item("a", (4,), 4)], size=3).buckets
    assert [bucket.part(rank) for rank in range(3)] == [slice(0, 16), slice(16, 16), slice(16, 16)]


def test_ranks_share_the_rows_of_what_may_be_cut() -> None:
    """160 + 48 elements end to end for two ranks: the middle is 104, the last row of 8 up to
    there, where the offset is a multiple of 16, begins at 96."""
    items = [Item("a", (20, 8), 1, elementwise=True), Item("b", (40,), 1, elementwise=True)]
    layout = plan_layout(items, size=2, order=[0, 1])
    assert offsets(layout) == {"a": (0, 0), "b": (0, 160)}
    assert layout.buckets[0].splits == [96, 112]
    assert [[layout.rows_of(slot, rank) for slot in layout.slots] for rank in (0, 1)] == [
        [range(12), None],
        [range(12, 20), range(40)],
    ]


def test_every_row_has_one_owner() -> None:
    items = [Item(str(n), (7 * n + 1, n % 5 + 1), 1, elementwise=True) for n in range(30)]
    for size in (1, 2, 3, 8):
        layout = plan_layout(items, size)
        for slot in layout.slots:
            rows = [layout.rows_of(slot, rank) or range(0) for rank in range(size)]
            assert [row for part in rows for row in part] == list(range(slot.shape[0]))


def test_buckets_go_in_the_order_of_the_backward_pass() -> None:
    """Two tensors fill one; what is cut and what is not do not mix."""
    items = [Item(str(n), (64,), 1, elementwise=n % 2 == 0) for n in range(8)]
    layout = plan_layout(items, size=2, order=[1, 0, 3, 2, 5, 4, 7, 6], bucket_elements=128)
    numbers = [slot.bucket for slot in layout.slots]
    assert numbers == [1, 0, 1, 0, 3, 2, 3, 2]


def test_what_is_ready_does_not_wait_for_an_embedding() -> None:
    """It would if 48 + 256 elements were one bucket."""
    items = [Item("embedding", (16, 16), 1, elementwise=True), Item("norm", (48,), 1, True)]
    layout = plan_layout(items, size=2, bucket_elements=128)
    assert offsets(layout) == {"norm": (0, 0), "embedding": (1, 48)}
    small = plan_layout(items, size=2, bucket_elements=512)
    assert offsets(small) == {"norm": (0, 0), "embedding": (0, 48)}


def test_more_ranks_have_larger_buckets_and_one_host_has_one() -> None:
    assert default_bucket_elements(10**9, 2, 1) == default_bucket_elements(10**9, 16, 8) == 1 << 20
    assert default_bucket_elements(10**9, 512, 8) == 512 * 65536
    assert default_bucket_elements(1000, 8, 8) > 1000


def test_whole_tensors_wait_until_no_part_is_twice_the_fair_share() -> None:
    """With four ranks three equal tensors leave the largest at 4/3 of the fair share; one alone
    would be at 4."""
    items = [Item(str(n), (64,), 1) for n in range(4)]
    layout = plan_layout(items, size=4, bucket_elements=1)
    assert [slot.bucket for slot in layout.slots] == [1, 1, 0, 0]


@pytest.mark.parametrize("shape", [(128, 320), (320, 128)])
def test_newton_schulz_counts_its_products(shape: tuple[int, int]) -> None:
    # 5 x (gram 2 r^2 c + its square 2 r^3 + product 2 r^2 c), r = 128, c = 320
    operations = 5 * (2 * (2 * 128**2 * 320) + 2 * 128**3)
    extra = newton_schulz_cost(shape) - elementwise_cost(shape)
    assert extra == pytest.approx(operations / 60)
