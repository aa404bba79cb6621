"""The verb itself with launched trials: what it leaves, and what a signal or a kill leaves."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hvdcore.launch.job.horovodrun import clean_environment
from hvdcore.launch.supervisor.processes import find_orphans, kill_orphans
from hvdcore.testing.ranks import TEST_MARKER, orphans

pytest.importorskip("optuna", reason="the extra hvdcore[tune] is not installed")

PROGRAM = Path(__file__).parents[1] / "programs" / "tune_trainer.py"
SLOW = "seconds = 0.3\nmax_steps = 40\n"
"""A trial of twelve seconds: it is struck in its middle, however busy the machine is."""


def tune_line(out: Path, *flags: str) -> list[str]:
    return [sys.executable, str(PROGRAM), "tune", "--output-dir", str(out), *flags]


def environment(marker: str) -> dict[str, str]:
    env = {**clean_environment(os.environ), TEST_MARKER: marker, "COLUMNS": "200"}
    env.pop("OMP_NUM_THREADS", None)
    return env


def tune(out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """One call to its end; it must leave no process behind."""
    marker = secrets.token_hex(8)
    done = subprocess.run(
        tune_line(out, *flags), env=environment(marker), capture_output=True, text=True, timeout=300
    )
    left = orphans(marker, within=5)
    kill_orphans(TEST_MARKER, marker)
    assert not left, left
    return done


def config(folder: Path, text: str) -> list[str]:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return ["--config", str(file)]


def results(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "tuning.json").read_text(encoding="utf-8")))


def states(out: Path) -> list[str]:
    return [row["state"] for row in results(out)["trials"]]


@pytest.mark.ranks
def test_a_study_of_launched_trials(tmp_path: Path) -> None:
    """Two at a time, each with its share of the cores; one fails, and the others count."""
    out = tmp_path / "study"
    file = config(tmp_path, "fail_above = 0.97\n")
    flags = ("--np", "1", "--parallel-trials", "2", "--pruner", "none", "--seed", "0")
    done = tune(out, *file, *flags, "--trials", "3")
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 3, done.stderr  # a line a trial
    found = results(out)
    assert Counter(states(out)) == {"complete": 2, "failed": 1}
    failed = next(row for row in found["trials"] if row["state"] == "failed")
    assert failed["params"]["learning_rate"] > 0.97
    assert "RuntimeError: rate 0.98" in failed["reason"]
    assert Path(failed["log"]).is_file()
    assert "Traceback" in (out / failed["run"] / "logs" / "rank-0.log").read_text(encoding="utf-8")
    assert f"log: {failed['log']}" in done.stderr
    best = found["trials"][found["best"]]
    rate = best["params"]["learning_rate"]
    worse = 0.1 if best["params"]["model"] == "b" else 0.0
    assert best["value"] == pytest.approx((rate - 0.3) ** 2 + worse + 0.25)
    assert (out / best["run"] / "report.json").is_file()
    # Alone a job of one rank would take all cores.
    threads = json.loads((out / best["run"] / "threads.json").read_text())
    assert threads == str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert f"learning_rate = {rate}" in (out / "best.toml").read_text(encoding="utf-8")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "rate 0.98" in page
    assert page.count("data:image/png") == 2
    check_refusals(out, file)


def check_refusals(out: Path, file: list[str]) -> None:
    """A study is gone on with as it was, or not at all."""
    for flags, changed in (
        (("--objective", "accuracy"), "objective"),
        (("--learning-rate", "0.2"), "space of learning_rate"),
        (("--max-steps", "3"), "max_steps"),
    ):
        done = tune(out, *file, "--seed", "0", *flags)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: output_dir: {out} holds a study with another ")
        assert changed in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--trials", "0"], "trials: got 0 from --trials; give 1 or more"),
        (["--timeout", "-1"], "timeout: got -1.0 from --timeout; give a number above 0"),
        (["--objective", "speed"], "objective: got 'speed'; give one of loss, accuracy"),
        (["--max-steps", "0"], "max_steps: got 0 from --max-steps; give 1 or more"),
        (["--data", "nowhere"], "data: nowhere: no such path; give another"),
        pytest.param(
            ["--data", "odd"],
            "data: odd: not for this model",
            marks=[pytest.mark.ranks, pytest.mark.proof],
        ),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, flags: list[str], line: str) -> None:
    done = tune(tmp_path / "study", *flags)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"error: {line}"]


def started(out: Path, number: int) -> bool:
    """Whether a trial has written a val point."""
    file = out / "trials" / f"{number:04d}" / "metrics.jsonl"
    return file.exists() and file.read_text(encoding="utf-8").count("\n") > 1


def start(out: Path, marker: str, *flags: str) -> subprocess.Popen[str]:
    """A study that runs, with two trials under way."""
    process = subprocess.Popen(
        tune_line(out, *flags), env=environment(marker), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (started(out, 0) and started(out, 1)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.proof)],
)
def test_a_signal_ends_the_trials_in_good_order(tmp_path: Path, number: int, code: int) -> None:
    out, marker = tmp_path / "study", secrets.token_hex(8)
    process = start(out, marker, *config(tmp_path, SLOW), "--parallel-trials", "2")
    os.killpg(process.pid, number)  # as a terminal does
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert not orphans(marker, within=5)
    assert states(out) == ["interrupted", "interrupted"]
    for trial in ("0000", "0001"):  # each saved before it went
        assert list((out / "trials" / trial / "checkpoints").iterdir())


@pytest.mark.ranks
def test_killed_in_mid_study_nothing_is_lost_or_run_twice(tmp_path: Path) -> None:
    out, marker = tmp_path / "study", secrets.token_hex(8)
    process = start(out, marker, *config(tmp_path, SLOW), "--parallel-trials", "2")
    busy = tune(out, *config(tmp_path, SLOW))
    assert busy.returncode == 2
    assert "another tune is running there" in busy.stderr
    process.kill()
    process.communicate(timeout=60)
    # No trial runs for long: the kernel signals the launchers, and the ranks save.
    assert not orphans(marker, within=30)
    for trial in ("0000", "0001"):
        assert list((out / "trials" / trial / "checkpoints").iterdir())
    kill_is_made_good(out, tmp_path)


def kill_is_made_good(out: Path, folder: Path) -> None:
    # The same study with quick trials: as if their machine had been slow.
    study = json.loads((out / "study.json").read_text(encoding="utf-8"))
    study["config"] |= {"seconds": 0.0, "max_steps": 4}
    (out / "study.json").write_text(json.dumps(study), encoding="utf-8")
    quick = config(folder, "seconds = 0.0\nmax_steps = 4\n")
    done = tune(out, *quick, "--trials", "3", "--parallel-trials", "2")
    assert done.returncode == 0, done.stderr
    rows = results(out)["trials"]
    assert states(out) == ["interrupted", "interrupted", "complete", "complete", "complete"]
    assert [row["repeats"] for row in rows] == [None, None, 0, 1, None]
    assert rows[2]["params"] == rows[0]["params"]
    assert rows[3]["params"] == rows[1]["params"]
    assert tune(out, *quick, "--trials", "3").returncode == 0  # there is nothing left to do
    assert results(out)["trials"] == rows


@pytest.mark.ranks
def test_the_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Trials that take their time to save do not get it."""
    out, marker = tmp_path / "study", secrets.token_hex(8)
    stubborn = "seconds = 0.3\nmax_steps = 400\nstubborn = true\n"
    process = start(out, marker, *config(tmp_path, stubborn), "--parallel-trials", "2")
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert not find_orphans(TEST_MARKER, marker) or not orphans(marker, within=5)


def finished(out: Path) -> dict[int, tuple[str, float]]:
    """State and learning rate of each trial that the database has as complete or pruned."""
    query = """
        SELECT number, state, param_value FROM trials JOIN trial_params USING (trial_id)
        WHERE state IN ('COMPLETE', 'PRUNED') AND param_name = 'learning_rate'
    """
    file = out / "study.db"
    if not file.is_file():
        return {}
    with contextlib.closing(sqlite3.connect(file)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if "trial_params" not in tables:
            return {}  # killed before the tables were there
        rows = database.execute(query).fetchall()
    return {number: (state.lower(), rate) for number, state, rate in rows}


def has_config(out: Path, number: int) -> bool:
    """Whether a trial's configuration was written: all its parameters had been drawn by then."""
    return (out / "trials" / f"{number:04d}.json").is_file()


@pytest.mark.ranks
@pytest.mark.proof
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_nothing_is_lost_or_run_twice(tmp_path: Path, seed: int) -> None:
    """Five kills at random moments of a study of ten trials, two at a time."""
    out, marker, draw = tmp_path / "study", secrets.token_hex(8), random.Random(seed)
    flags = [*config(tmp_path, "seconds = 0.1\n"), "--trials", "10", "--parallel-trials", "2"]
    finished_at_kills = []
    for _ in range(5):
        process = subprocess.Popen(
            tune_line(out, *flags), env=environment(marker), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.5, 6.0))
        process.kill()
        process.wait()
        finished_at_kills.append(finished(out))
    done = tune(out, *flags)
    assert done.returncode == 0, done.stderr
    assert not orphans(marker, within=30)
    rows = results(out)["trials"]
    for trials in finished_at_kills:
        for number, (state, rate) in trials.items():
            row = rows[number]
            assert (row["state"], row["params"]["learning_rate"]) == (state, rate)
    kept = [row for row in rows if row["state"] != "interrupted"]
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert len(kept) == 10
    assert {row["state"] for row in kept} <= {"complete", "pruned"}
    again = sorted(row["repeats"] for row in rows if row["repeats"] is not None)
    assert again == [row["number"] for row in rows if row["state"] == "interrupted"]
    for row in rows:
        if row["repeats"] is not None:
            earlier = rows[row["repeats"]]["params"]
            if has_config(out, row["repeats"]):
                assert row["params"] == earlier
            else:
                # Optuna records one parameter after the other: a tuner that was killed between two
                # left the rest out. No process of this trial was started; the rest is drawn now.
                assert earlier.items() <= row["params"].items()
    assert len({row["params"]["learning_rate"] for row in kept}) == 10
