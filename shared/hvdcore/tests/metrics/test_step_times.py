"""The averages and the speed that a run reports, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hvdcore.metrics.step_times import WARM_UP_STEPS, Speed, StepTimes, Window


def test_window_means_by_hand() -> None:
    window = Window("images")
    window.add({"loss": 2.0}, 100, StepTimes(data=1.0, communicate=0.5, total=4.0, update=0.25))
    window.add({"loss": 4.0}, 300, StepTimes(data=0.0, communicate=0.5, total=4.0, update=0.75))
    assert window.means() == pytest.approx(
        {
            "loss": 3.0,
            "images_per_second": 50.0,
            "data_seconds": 0.5,
            "compute_seconds": 2.5,
            "update_seconds": 0.5,
            "communicate_seconds": 0.5,
        }
    )


def test_speed_leaves_the_first_steps_out() -> None:
    speed = Speed()
    for _ in range(WARM_UP_STEPS):
        speed.add(10, StepTimes(total=100.0))
    assert (speed.num_units, speed.seconds) == (0, 0.0)
    assert speed.mean_step(lambda values: values) is None
    speed.add(10, StepTimes(total=2.0))
    assert (speed.num_units, speed.seconds) == (10, 2.0)


def test_a_step_of_the_run_is_the_mean_over_steps_and_ranks() -> None:
    """Rank 0 waits for 2 s in each step; the other rank, which computes meanwhile, does not."""
    speed = Speed()
    for _ in range(WARM_UP_STEPS + 4):
        speed.add(10, StepTimes(data=1.0, communicate=2.0, total=8.0, update=1.0))
    other = 4 * np.array([1.0, 6.0, 1.0, 0.0, 1.0])
    mean = speed.mean_step(lambda values: values + other)
    assert mean == {
        "data_seconds": 1.0,
        "compute_seconds": 5.0,
        "update_seconds": 1.0,
        "communicate_seconds": 1.0,
    }
