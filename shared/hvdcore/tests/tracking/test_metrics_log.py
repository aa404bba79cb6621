"""metrics.jsonl through kills and resumes."""

from __future__ import annotations

import json
import logging
import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hvdcore.tracking.metrics_log import MetricsLog, Trimmed


def test_lines_and_strict_json(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert list(log.read()) == []
    log.append({"step": 1, "epoch": 0, "split": "train", "loss": 2.5})
    log.append({"step": 2, "epoch": 0, "split": "train", "loss": math.nan})
    assert log.path.read_text() == (
        '{"step": 1, "epoch": 0, "split": "train", "loss": 2.5}\n'
        '{"step": 2, "epoch": 0, "split": "train", "loss": null}\n'
    )


def test_trim_drops_later_and_torn_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in (10, 20, 30):
        log.append({"step": step, "split": "train"})
        log.append({"step": step, "split": "val"})
    log.append({"note": "no step"})
    with log.path.open("a") as file:
        file.write('{"step": 40, "spl')
    with caplog.at_level(logging.INFO):
        assert log.trim(after_step=20) == Trimmed(num_later=2, num_torn=1)
    assert "dropped 2 lines after step 20 and 1 incomplete ones" in caplog.text
    assert [line.get("step") for line in log.read()] == [10, 10, 20, 20, None]
    assert log.trim(after_step=20) == Trimmed(0, 0)
    log.append({"step": 21})
    assert list(log.read())[-1] == {"step": 21}


def test_a_torn_line_does_not_swallow_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"ste')
    log = MetricsLog(path)
    log.append({"step": 2})
    assert list(log.read()) == [{"step": 1}, {"step": 2}]
    assert "cut off by a kill" in caplog.text
    assert log.trim(after_step=5) == Trimmed(0, 1)


def test_no_file_to_trim(tmp_path: Path) -> None:
    assert MetricsLog(tmp_path / "none.jsonl").trim(after_step=0) == Trimmed(0, 0)


def test_a_killed_writer_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    code = (
        "import sys, pathlib, itertools\n"
        "from hvdcore.tracking.metrics_log import MetricsLog\n"
        "log = MetricsLog(pathlib.Path(sys.argv[1]))\n"
        "for step in itertools.count():\n"
        "    log.append({'step': step, 'text': 'x' * 500})\n"
        "    print(step, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(200):
            reported = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
    steps = [line["step"] for line in MetricsLog(path).read()]
    assert steps == list(range(len(steps)))
    assert len(steps) > reported
    assert all(json.loads(line) for line in path.read_text().splitlines())
