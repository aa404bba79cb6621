"""The averages and the speed that a run reports, by hand; and what rank 0 alone writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvdcore.progress import Progress
from hvdcore.record import WARM_UP_STEPS, RunRecord, Speed, StepTimes, Window
from hvdcore.run_dir import RunDir
from hvdcore.tensorboard import Board


def test_window_means_by_hand() -> None:
    window = Window("images")
    window.add({"loss": 2.0}, 100, StepTimes(data=1.0, communicate=0.5, total=4.0))
    window.add({"loss": 4.0}, 300, StepTimes(data=0.0, communicate=0.5, total=4.0))
    assert window.means() == pytest.approx(
        {
            "loss": 3.0,
            "images_per_second": 50.0,
            "data_seconds": 0.5,
            "compute_seconds": 3.0,
            "communicate_seconds": 0.5,
        }
    )


def test_speed_leaves_the_first_steps_out() -> None:
    speed = Speed()
    for _ in range(WARM_UP_STEPS):
        speed.add(10, StepTimes(0, 0, 100.0))
    assert (speed.num_units, speed.seconds) == (0, 0.0)
    speed.add(10, StepTimes(0, 0, 2.0))
    assert (speed.num_units, speed.seconds) == (10, 2.0)


@pytest.mark.parametrize("is_root", [True, False])
def test_rank_0_alone_writes(tmp_path: Path, is_root: bool) -> None:
    run = RunDir.create(tmp_path / "run", "hvdcore", {})
    board = Board(run.tensorboard, enabled=is_root)
    with RunRecord(run, board, Progress(1, "images", False), is_root, Window("images")) as record:
        record.write(3, 1, "val", {"loss": 0.5})
    expected = [{"step": 3, "epoch": 1, "split": "val", "loss": 0.5}] if is_root else []
    assert run.read_metrics() == expected
