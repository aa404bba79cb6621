"""A profile of known steps, read back as the Chrome trace events that viewers read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import hvdcore.torch as hvt
from hvdcore.runtime.world import World
from hvdcore.testing.faults import trace_events
from hvdcore.torch.profile import plan_steps


@pytest.fixture(scope="module")
def alone() -> Iterator[World]:
    yield hvt.init(timeline=True)
    hvt.shutdown()


def run_steps(folder: Path | None, alone: World, planned: int, made: int) -> None:
    with hvt.StepProfile(folder, alone, planned) as profile:
        for step in range(made):
            torch.ones(step + 2, 3) @ torch.ones(3, step + 2)
            profile.step()


@pytest.mark.parametrize(
    ("num_steps", "plan"),
    [(1, (0, 0, 1)), (5, (0, 0, 5)), (6, (0, 1, 5)), (9, (3, 1, 5)), (500, (5, 1, 5))],
)
def test_the_first_steps_are_left_out_where_there_are_more(
    num_steps: int, plan: tuple[int, int, int]
) -> None:
    assert plan_steps(num_steps) == plan


def products(folder: Path) -> list[list[list[int]]]:
    """Shapes of what was multiplied, in order."""
    events = trace_events(folder / "rank-0.json")
    return [e["args"]["Input Dims"][:2] for e in events if e.get("name") == "aten::mm"]


@pytest.mark.parametrize(("num_steps", "traced"), [(3, [2, 3, 4]), (40, [8, 9, 10, 11, 12])])
def test_the_steps_that_were_planned_are_traced(
    tmp_path: Path, alone: World, num_steps: int, traced: list[int]
) -> None:
    """Step i multiplies a matrix of i + 2 rows, so the shapes say which steps were traced."""
    run_steps(tmp_path / "profile", alone, num_steps, num_steps)
    assert products(tmp_path / "profile") == [[[n, 3], [3, n]] for n in traced]
    names = {event.get("name") for event in trace_events(tmp_path / "profile" / "rank-0.json")}
    assert {f"ProfilerStep#{n - 2}" for n in traced} <= names
    # One rank has no collectives, and so no timeline of them.
    assert [path.name for path in (tmp_path / "profile").iterdir()] == ["rank-0.json"]


def test_a_run_that_is_stopped_in_between_leaves_what_it_has(tmp_path: Path, alone: World) -> None:
    run_steps(tmp_path / "cut", alone, 40, 8)
    assert products(tmp_path / "cut") == [[[n, 3], [3, n]] for n in (8, 9)]
    run_steps(tmp_path / "early", alone, 40, 2)
    assert not list((tmp_path / "early").iterdir())


def test_without_a_folder_or_a_step_nothing_is_written(tmp_path: Path, alone: World) -> None:
    run_steps(None, alone, 40, 10)
    run_steps(tmp_path / "none", alone, 0, 0)
    assert not list(tmp_path.iterdir())
