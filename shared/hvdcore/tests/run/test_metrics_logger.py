"""What a run logs: rank 0 alone writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvdcore.run.metrics_logger import RunLogger, Window
from hvdcore.run.run_dir import RunDir
from hvdcore.tracking.progress import Progress
from hvdcore.tracking.tensorboard import Board


@pytest.mark.parametrize("is_root", [True, False])
def test_rank_0_alone_writes(tmp_path: Path, is_root: bool) -> None:
    run = RunDir.create(tmp_path / "run", "hvdcore", {})
    board = Board(run.tensorboard, enabled=is_root)
    with RunLogger(run, board, Progress(1, "images", False), is_root, Window("images")) as record:
        record.write(3, 1, "val", {"loss": 0.5})
    expected = [{"step": 3, "epoch": 1, "split": "val", "loss": 0.5}] if is_root else []
    assert run.read_metrics() == expected
