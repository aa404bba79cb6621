"""Owners and places of parameters, against assignments worked out by hand."""

from __future__ import annotations

import pytest

from hvdcore.torch.hardware import elementwise_cost, newton_schulz_cost
from hvdcore.torch.sharded import assign_owners, plan_layout


def test_dearest_first_to_the_least_loaded() -> None:
    # 7 -> 0, 5 -> 1, 4 -> 1 (9), 3 -> 0 (10), 2 -> 1 (11), 1 -> 0 (11)
    assert assign_owners([1, 5, 7, 2, 4, 3], 2) == [0, 1, 0, 1, 1, 0]


def test_equal_costs_go_round() -> None:
    assert assign_owners([1, 1, 1, 1, 1], 3) == [0, 1, 2, 0, 1]


def test_one_rank_owns_all_and_more_ranks_than_items_leave_some_idle() -> None:
    assert assign_owners([3, 1, 2], 1) == [0, 0, 0]
    assert assign_owners([3, 1], 4) == [0, 1]


def test_parts_follow_each_other_aligned() -> None:
    layout = plan_layout([("a", (3, 5)), ("b", (17,)), ("c", ())], [15, 17, 1], size=2)
    places = {slot.name: (slot.owner, slot.offset, slot.numel) for slot in layout.slots}
    assert places == {"b": (0, 0, 17), "a": (1, 32, 15), "c": (1, 48, 1)}
    assert [slot.name for slot in layout.slots] == ["a", "b", "c"]
    assert (layout.part(0), layout.part(1)) == (slice(0, 32), slice(32, 64))
    assert layout.numel == 64


def test_an_idle_ranks_part_is_empty() -> None:
    layout = plan_layout([("a", (4,))], [4], size=3)
    assert [layout.part(rank) for rank in range(3)] == [slice(0, 16), slice(16, 16), slice(16, 16)]


@pytest.mark.parametrize("shape", [(128, 320), (320, 128)])
def test_newton_schulz_counts_its_products(shape: tuple[int, int]) -> None:
    # 5 x (gram 2 r^2 c + its square 2 r^3 + product 2 r^2 c), r = 128, c = 320
    operations = 5 * (2 * (2 * 128**2 * 320) + 2 * 128**3)
    extra = newton_schulz_cost(shape) - elementwise_cost(shape)
    assert extra == pytest.approx(operations / 60)
