"""`--profile`: Horovod's timeline and a trace of each rank, whoever starts the ranks."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import find_program
from hvdcore.testing.faults import trace_events
from textgen.testing import Run, train, write_book

pytestmark = pytest.mark.ranks

FLAGS = ("--max-steps", "4", "--eval-every", "4", "--profile")
TIMELINE = "timeline.json"


def check_profile(run: Run, operation: str) -> None:
    folder = run.path / "profile"
    assert sorted(p.name for p in folder.iterdir()) == ["rank-0.json", "rank-1.json", TIMELINE]
    assert f"profile: {folder}: open {TIMELINE} (collectives of all ranks) and" in run.stdout
    for rank in (0, 1):
        names = {event.get("name") for event in trace_events(folder / f"rank-{rank}.json")}
        assert {f"ProfilerStep#{step}" for step in range(4)} <= names
        assert {"aten::mm", "communicate"} <= names
    events = trace_events(folder / TIMELINE)
    lanes = {e["args"].get("name"): e["pid"] for e in events if e.get("name") == "process_name"}
    for what in ("gradients", "parameters"):
        lane = lanes[f"alltoall.hvdcore.sharded.0.{what}.0"]
        found = [e for e in events if e["pid"] == lane and e.get("name") == operation]
        assert len(found) == 4  # each is exchanged once a step


def test_a_short_run_is_profiled_whole(tmp_path: Path) -> None:
    book = write_book(tmp_path / "book.txt")
    run = train(tmp_path / "run", book, *FLAGS, "--np", "2").check()
    check_profile(run, "MPI_ALLTOALL")


@pytest.mark.proof
def test_plain_horovodrun_is_profiled_too(tmp_path: Path) -> None:
    book = write_book(tmp_path / "book.txt")
    launcher = (str(find_program("horovodrun")), "-np", "2", "--gloo")
    run = train(tmp_path / "run", book, *FLAGS, launcher=launcher).check()
    check_profile(run, "GLOO_ALLTOALL")
    plain = train(tmp_path / "plain", book, *FLAGS[:-1], launcher=launcher).check()
    assert not (plain.path / "profile").exists()
    assert plain.report["weights_sha256"] == run.report["weights_sha256"]
