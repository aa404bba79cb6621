"""Progress at a real terminal and in a pipe, with a clock that the test turns."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest

from hvdcore.tracking.progress import Progress, Rate, duration_text, number_text


class Clock:
    """Seconds that grow when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_pipe_gets_a_line_now_and_then() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(6400, "tokens", stream=stream, clock=clock) as progress:
        for step in range(50):
            clock.now += 1.0
            progress.advance(64, loss=2.0 - step / 100)
    assert stream.getvalue() == "train 30%: 64 tokens/s, loss 1.71, 1:10 left\n"


def test_the_rate_leaves_out_what_was_done_before_the_resume() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress(
        1000, "images", initial=500, interval_seconds=10, stream=stream, clock=clock
    )
    with progress:
        clock.now += 10
        progress.advance(100)
    assert stream.getvalue() == "train 60%: 10 images/s, 0:40 left\n"


def test_other_ranks_are_silent() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(10, "tokens", enabled=False, stream=stream, clock=clock) as progress:
        clock.now += 1000
        progress.advance(10, loss=1.0)
    assert stream.getvalue() == ""


def test_no_work_at_all() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(0, "tokens", stream=stream, clock=clock) as progress:
        clock.now += 31
        progress.advance(0)
    assert stream.getvalue() == "train 100%: 0 tokens/s\n"


def test_a_terminal_gets_a_bar() -> None:
    text = shown_at_a_terminal(
        "import time\n"
        "from hvdcore.tracking.progress import Progress\n"
        "with Progress(1000, 'tokens') as progress:\n"
        "    for _ in range(10):\n"
        "        time.sleep(0.03)\n"
        "        progress.advance(100, loss=1.87)\n"
    )
    last = [line for line in re.split(r"[\r\n]+", text) if "tokens/s" in line][-1]
    assert re.search(r"train .*━.* 100% .*tokens/s, loss 1\.87, 0:00 left", last)


def test_log_lines_stand_above_the_bar() -> None:
    text = shown_at_a_terminal(
        "from hvdcore.tracking.logs import get_logger, setup_logging\n"
        "from hvdcore.tracking.progress import Progress\n"
        "from hvdcore.runtime.world import World\n"
        "setup_logging(World(0, 1, 0, 1, 'none'), None)\n"
        "with Progress(1000, 'tokens') as progress:\n"
        "    get_logger('x').info('step 1')\n"
        "    get_logger('x').warning('slow')\n"
        "    progress.advance(1000)\n"
        "get_logger('x').info('done')\n"
    )
    lines = [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n")]
    assert lines[:2] == ["step 1", "warning: slow"]
    assert "100%" in lines[2]
    assert lines[3:] == ["done", ""]


def shown_at_a_terminal(code: str) -> str:
    """What a program draws, without control characters."""
    main, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=terminal, stderr=terminal, env=environment
    ) as child:
        os.close(terminal)
        drawn = b""
        while True:
            try:
                chunk = os.read(main, 4096)
            except OSError:  # Linux reports the other end's closing as EIO
                break
            if not chunk:
                break
            drawn += chunk
    os.close(main)
    assert child.returncode == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.decode())


def test_rate_looks_back_over_its_window_only() -> None:
    rate = Rate(start=0.0, window_seconds=10.0)
    assert rate.per_second() == 0.0
    rate.note(100.0, 100.0)
    assert rate.per_second() == 1.0
    rate.note(105.0, 150.0)
    rate.note(110.0, 200.0)
    assert rate.per_second() == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (0.5, "0.5"),
        (99.44, "99.4"),
        (999.6, "1000"),
        (1234, "1.2k"),
        (2.5e6, "2.5M"),
        (3e9, "3.0G"),
    ],
)
def test_number_text(value: float, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")]
)
def test_duration_text(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
