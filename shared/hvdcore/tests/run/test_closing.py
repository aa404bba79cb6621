"""The last lines of a training, and the list of runs with their state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hvdcore.cli import app
from hvdcore.run.closing import Headline, closing_lines
from hvdcore.run.listing import find_runs, state_of
from hvdcore.run.lock import RunLock, hold_run_dir, run_dirs_held
from hvdcore.run.run_dir import RunDir

ACCURACY = Headline("accuracy", "accuracy")
BITS = Headline("bits_per_byte", "bits per byte", "{:.3f}", lower_is_better=True)


def write_run(
    path: Path, test: dict[str, Any] | None = None, data: str = "sample", package: str = "p"
) -> RunDir:
    run = RunDir.create(path, package, {"data": data})
    if test is not None:
        run.write_json("report.json", {"package": package, "model": path.name, "test": test})
    return run


def test_the_result_stands_beside_the_best_of_the_others(tmp_path: Path) -> None:
    classes = {"a": {"support": 30}, "b": {"support": 10}}
    write_run(tmp_path / "linear", {"accuracy": 0.5})
    write_run(tmp_path / "mlp", {"accuracy": 0.625})
    write_run(tmp_path / "elsewhere", {"accuracy": 0.99}, data="other")  # not comparable
    write_run(tmp_path / "foreign", {"accuracy": 0.99}, package="q")  # nor this
    write_run(tmp_path / "unfinished")
    run = write_run(tmp_path / "cnn", {"accuracy": 0.75, "classes": classes})
    result, report, following = closing_lines(run, ACCURACY, "image-cls predict {run} IMAGE")
    assert result.startswith(
        "result: test accuracy 0.7500; the most frequent class alone 0.7500;"
        " best of 2 other runs beside it: mlp 0.6250 ("
    )
    assert report == f"report: {run.report_html}"
    assert following == f"next: image-cls predict {run.path} IMAGE"


def test_lower_is_better_and_the_score_before_training(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"bits_per_byte": 3.0})
    write_run(tmp_path / "b", {"bits_per_byte": 2.5})
    run = write_run(tmp_path / "c", {"bits_per_byte": 2.0})
    run.append_metrics({"step": 0, "epoch": 0, "split": "val", "bits_per_byte": 8.0})
    run.append_metrics({"step": 9, "epoch": 0, "split": "val", "bits_per_byte": 2.1})
    result = closing_lines(run, BITS, "x")[0]
    assert result.startswith("result: test bits per byte 2.000; before training, on val, 8.000;")
    assert "best of 2 other runs beside it: b 2.500" in result


HOLDER = """
import sys, time
from pathlib import Path
from hvdcore.run.lock import hold_run_dir, run_dirs_held
with run_dirs_held():
    hold_run_dir(Path(sys.argv[1]))
    print("held", flush=True)
    time.sleep(600)
"""


@run_dirs_held()
def break_down_in(path: Path) -> None:
    hold_run_dir(path)
    _ = 1 / 0


def test_states(tmp_path: Path) -> None:
    """A real process holds one run; it is killed at the end, and then the run has failed."""
    done, stopped, failed, running = (
        write_run(tmp_path / name) for name in ("done", "stopped", "failed", "running")
    )
    done.write_json("report.json", {"package": "p"})
    with run_dirs_held():
        hold_run_dir(stopped.path)
    with pytest.raises(ZeroDivisionError):
        break_down_in(failed.path)
    command = [sys.executable, "-c", HOLDER, str(running.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        states = {name: state_of(RunDir(tmp_path / name)) for name in os.listdir(tmp_path)}
        assert states == {name: name for name in ("done", "stopped", "failed", "running")}
        process.kill()
    assert state_of(running) == "failed"


def test_a_run_on_another_host_runs_while_it_touches_its_lock(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    lock = RunLock(run.path)
    lock.take()
    file = next(path for path in lock.folder.iterdir() if path.name.isdecimal())
    holder = json.loads(file.read_bytes())
    file.write_text(json.dumps({**holder, "space": "elsewhere", "host": "elsewhere"}))
    assert state_of(run) == "running"
    long_ago = time.time() - 1000
    os.utime(file, (long_ago, long_ago))
    assert state_of(run) == "failed"


def test_how_to_resume(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "x")
    env = json.loads(run.env.read_text())
    for argv, expected in (
        (["/bin/textgen", "train", "--np", "2", "--resume", "never"],
         f"textgen train --np 2 --output-dir {run.path} --resume auto"),
        (["/lib/textgen/__main__.py", "train", "--output-dir", "runs/x", "--resume=old"],
         "python -m textgen train --output-dir runs/x --resume auto"),
    ):  # fmt: skip
        run.write_json("env.json", {**env, "argv": argv})
        (found,) = find_runs(tmp_path)
        assert found.resume == f"{expected} (from the start: no checkpoint)"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "a", {"accuracy": 0.5})
    run.append_metrics({"step": 4, "epoch": 0, "split": "val", "loss": 1.5, "accuracy": 0.25})
    run.append_metrics({"step": 5, "epoch": 0, "split": "train", "loss": 9.0})
    with pytest.raises(SystemExit) as exit_:
        app(["runs", str(tmp_path)])
    assert exit_.value.code == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if str(run.path) in line)
    assert line.split()[1:8] == ["done", "5", "val", "loss", "1.5,", "accuracy", "0.25"]
    for folder, error in ((tmp_path / "none", "no such folder"), (run.logs, "no run is below it")):
        with pytest.raises(SystemExit) as exit_:
            app(["runs", str(folder)])
        assert exit_.value.code == 2
        assert error in capsys.readouterr().err
