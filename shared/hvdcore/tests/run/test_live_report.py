"""The report of a run that goes on: a page that loads itself again, opened in the browser."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvdcore.run import live_report
from hvdcore.run.live_report import LiveReport, live_page
from hvdcore.run.run_dir import RunDir

ROWS = [
    {"step": 0, "epoch": 0, "split": "val", "loss": 4.0},
    {"step": 5, "epoch": 0, "split": "train", "loss": 3.0},
    {"step": 10, "epoch": 1, "split": "val", "loss": 2.0},
]


def test_the_curve_goes_from_corner_to_corner() -> None:
    """Val falls from 4 to 2 over steps 0 to 10: from top left to bottom right."""
    page = live_page("a<b", "it goes on", ROWS, refresh=True)
    assert '<meta http-equiv="refresh" content="5">' in page
    assert "a&lt;b" in page
    assert re.findall(r'points="([^"]*)"', page) == ["46.0,16.0 594.0,196.0"]
    assert "<td>val</td><td>10</td><td>2</td>" in page
    assert 'aria-label="loss of val over the steps"' in page
    assert 'name="viewport"' in page
    assert "refresh" not in live_page("run", "it has ended", ROWS)  # the control


def test_a_page_that_nobody_asked_for_is_not_written(tmp_path: Path) -> None:
    assert LiveReport.if_asked(RunDir(tmp_path)) is None


RUN = """
import os, sys, time
from pathlib import Path
from hvdcore.run.live_report import ask_to_open
from hvdcore.run.metrics_logger import RunLogger, Window
from hvdcore.run.run_dir import RunDir
from hvdcore.tracking.progress import Progress
from hvdcore.tracking.tensorboard import Board
ask_to_open()
run = RunDir.create(Path(sys.argv[1]), "hvdcore", {})
board = Board(run.tensorboard, enabled=False)
with RunLogger(run, board, Progress(1, "images", False), True, Window("images")) as record:
    record.write(0, 0, "val", {"loss": 4.0})
    print("meta http-equiv" in run.report_html.read_text(), flush=True)
    while not Path(sys.argv[2]).exists():
        time.sleep(0.1)
"""


def test_it_is_opened_once_and_stops_when_the_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    command = [sys.executable, "-c", RUN, str(tmp_path / "run"), str(opened)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "True\n"
    page = RunDir(tmp_path / "run").report_html
    assert opened.read_text() == f"{page.resolve().as_uri()}\n"
    assert "refresh" not in page.read_text()
    assert "stopped before its end" in page.read_text()


def test_a_page_costs_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written every few seconds at most, however often a line is added."""
    clock = iter([100.0, 101.0, 104.9, 105.0])
    monkeypatch.setattr(live_report.time, "monotonic", lambda: next(clock))
    written = []
    live = LiveReport(RunDir.create(tmp_path / "run", "hvdcore", {}))
    monkeypatch.setattr(live, "_write", lambda *given, **named: written.append(time.time()))
    for row in [*ROWS, ROWS[-1]]:
        live.add(row)
    assert len(written) == 2
