"""The launcher's verdict from what ranks report, over hand-made times."""

from __future__ import annotations

from hvdcore.launch.job.monitor import Job, RankView
from hvdcore.launch.supervisor.outcome import RankEnd

DONE = [RankEnd(rank, 0, "done", log=f"log{rank}") for rank in range(2)]
CRASH = RankEnd(1, 1, "failed", "failed: ValueError: x", "log1")
VICTIM = RankEnd(0, 1, "victim", "failed: HorovodInternalError", "log0")


def job(size: int = 2) -> Job:
    subject = Job(size, 10.0)
    for rank in range(size):
        subject.ranks[rank] = RankView(rank, heard_at=0.0, log=f"log{rank}")
    return subject


def test_goes_on_while_ranks_run() -> None:
    subject = job()
    assert subject.verdict(1.0) is None
    subject.end(DONE[0], 1.0)
    assert subject.verdict(1.0) is None


def test_all_done_is_zero() -> None:
    subject = job()
    for end in DONE:
        subject.end(end, 1.0)
    verdict = subject.verdict(1.0)
    assert verdict is not None
    assert (verdict.code, verdict.lines) == (0, ())


def test_the_culprit_is_named_though_its_victim_spoke_first() -> None:
    subject = job()
    subject.end(VICTIM, 1.0)
    assert subject.verdict(1.5) is None, "wait: somebody else is to blame"
    subject.end(CRASH, 2.0)
    verdict = subject.verdict(2.0)
    assert verdict is not None
    assert verdict.code == 1
    assert verdict.lines == ("rank 1 failed: ValueError: x (log: log1)",)


def test_a_victim_is_named_when_nobody_else_is_to_blame() -> None:
    subject = job()
    subject.end(VICTIM, 1.0)
    verdict = subject.verdict(7.0)
    assert verdict is not None
    assert "rank 0 failed" in verdict.lines[0]


def test_the_same_user_error_on_every_rank_is_told_once() -> None:
    subject = job()
    subject.end(RankEnd(1, 2, "input", errors=("error: --data: no such path",)), 1.0)
    assert subject.verdict(1.1) is None, "rank 0 shows its own"
    subject.end(RankEnd(0, 2, "input", errors=("error: --data: no such path",)), 1.2)
    verdict = subject.verdict(1.2)
    assert verdict is not None
    assert (verdict.code, verdict.lines) == (2, ())


def test_a_user_error_on_one_rank_alone_is_told_with_its_rank() -> None:
    subject = job()
    subject.end(RankEnd(1, 2, "input", errors=("error: --data: no such path",)), 1.0)
    verdict = subject.verdict(4.0)
    assert verdict is not None
    assert (verdict.code, verdict.lines) == (2, ("[rank 1] error: --data: no such path",))


def test_stopped_by_request() -> None:
    subject = job()
    subject.end(RankEnd(1, 143, "stopped-by-request"), 1.0)
    assert subject.verdict(1.0) is None, "rank 0 still writes the checkpoint"
    subject.end(RankEnd(0, 143, "stopped-by-request"), 1.0)
    verdict = subject.verdict(1.0)
    assert verdict is not None
    assert verdict.code == 143


def test_a_supervisor_that_vanishes_is_named() -> None:
    subject = job()
    subject.lost(1, 1.0)
    verdict = subject.verdict(1.0)
    assert verdict is not None
    assert verdict.lines[0].startswith("rank 1 is gone")
    assert "log1" in verdict.lines[0]


def test_a_supervisor_that_is_silent_is_named() -> None:
    subject = job()
    subject.ranks[0].heard_at = 10.5
    verdict = subject.verdict(11.0)
    assert verdict is not None
    assert verdict.lines == ("rank 1 does not answer for 10 s (log: log1)",)


def test_ranks_that_wait_for_each_other() -> None:
    subject = job()
    for view in subject.ranks.values():
        view.heard_at, view.phase, view.idle = 30.0, "communicate", 19.0
    assert subject.verdict(30.0) is None
    for view in subject.ranks.values():
        view.idle = 21.0
    verdict = subject.verdict(30.0)
    assert verdict is not None
    assert verdict.lines[0].startswith("ranks 0, 1 wait for each other for more than 20 s")


def test_one_rank_that_works_for_long_keeps_the_others_waiting() -> None:
    subject = job()
    for view in subject.ranks.values():
        view.heard_at, view.phase, view.idle = 3000.0, "communicate", 2900.0
    subject.ranks[1].phase, subject.ranks[1].idle = "prepare", 1.0
    assert subject.verdict(3000.0) is None
