from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hvdcore.launch.supervisor.output import RankLog, RankOutput

Start = Callable[[int, "Path | None"], "Rank"]


class Rank:
    """A rank's stream, what the user saw of it and what its log holds."""

    def __init__(self, rank: int, folder: Path | None) -> None:
        self.seen = b""
        self.log = RankLog(rank, folder)
        self.output = RankOutput(rank, self.log, self._see)

    def _see(self, raw: bytes) -> None:
        self.seen += raw

    def logged(self) -> bytes:
        return self.log.path.read_bytes()


@pytest.fixture
def start() -> Iterator[Start]:
    """Makes ranks whose logs are closed at the end."""
    ranks: list[Rank] = []

    def make(rank: int, folder: Path | None) -> Rank:
        ranks.append(Rank(rank, folder))
        return ranks[-1]

    yield make
    for rank in ranks:
        rank.log.close(keep=False)


def test_rank_0_speaks_plainly(tmp_path: Path, start: Start) -> None:
    rank = start(0, tmp_path)
    rank.output.feed("loss 1.5\nwarning: hä\nhal".encode())
    rank.output.feed(b"f a line\n")
    assert rank.seen == "loss 1.5\nwarning: hä\nhalf a line\n".encode() == rank.logged()


def test_a_bar_that_never_pauses_is_seen_and_not_kept(tmp_path: Path, start: Start) -> None:
    rank = start(0, tmp_path)
    for step in range(1000):
        rank.output.feed(b"\r\x1b[2Kbar %d" % step)
        assert rank.seen.endswith(b"bar %d" % step)
    assert len(rank.output._partial) < 20
    rank.output.feed(b"\r\x1b[2Kloss 1.5\n")
    assert rank.seen.endswith(b"bar 999\r\x1b[2Kloss 1.5\n")
    assert rank.logged() == b"loss 1.5\n"


def test_output_without_newlines_is_cut_and_needs_bounded_memory(
    tmp_path: Path, start: Start
) -> None:
    """80 MB in one line: all of it reaches the log, and no more than a line's bound is held."""
    rank, chunk = start(1, tmp_path), b"x" * (64 << 10)
    for _ in range(1280):
        rank.output.feed(chunk)
        assert len(rank.output._partial) <= (1 << 20) + len(chunk)
    rank.output.finish()
    lines = rank.logged().split(b"\n")
    assert {len(line) for line in lines[:-1]} == {1 << 20}
    assert sum(map(len, lines)) == 80 << 20


def test_lines_cut_anywhere_are_the_same_lines(tmp_path: Path, start: Start) -> None:
    text = b"one\ntwo\n\nthree"
    for size in range(1, len(text) + 1):
        rank = start(0, tmp_path / str(size))
        for begin in range(0, len(text), size):
            rank.output.feed(text[begin : begin + size])
        rank.output.finish()
        assert rank.logged() == text + b"\n"


def test_other_ranks_are_heard_when_they_warn(tmp_path: Path, start: Start) -> None:
    rank = start(3, tmp_path)
    rank.output.feed(b"loss 1.5\nwarning: slow disk\nerror: --data: missing\n")
    assert rank.seen == b"[rank 3] warning: slow disk\n"
    assert rank.output.errors == ["error: --data: missing"]
    assert rank.logged() == b"loss 1.5\nwarning: slow disk\nerror: --data: missing\n"


def test_some_lines_are_for_the_log_alone(tmp_path: Path, start: Start) -> None:
    rank = start(0, tmp_path)
    rank.output.feed(
        b"\x1eTraceback\n[2026-01-02 03:04:05.678: E /x.cc:1] [0]: loop exception\nend\n"
    )
    assert rank.seen == b"end\n"
    assert rank.logged().startswith(b"Traceback\n[2026-01-02")


def test_a_progress_bar_moves_and_leaves_its_last_state_in_the_log(
    tmp_path: Path, start: Start
) -> None:
    rank = start(0, tmp_path)
    rank.output.feed(b"\r10%")
    rank.output.pause()
    assert rank.seen == b"\r10%"
    rank.output.feed(b"\r20%")
    rank.output.pause()
    rank.output.feed(b"\r30%\n")
    assert rank.seen == b"\r10%\r20%\r30%\n"
    assert rank.logged() == b"30%\n"


def test_an_unfinished_last_line_is_not_lost(tmp_path: Path, start: Start) -> None:
    rank = start(0, tmp_path)
    rank.output.feed(b"no newline")
    rank.output.finish()
    assert rank.seen == rank.logged() == b"no newline\n"


def test_a_log_moves_to_the_run_directory_with_what_it_holds(tmp_path: Path, start: Start) -> None:
    rank = start(0, None)
    temporary = rank.log.path
    rank.output.feed(b"before\n")
    rank.log.move_to(tmp_path / "logs" / "rank-0.log")
    rank.output.feed(b"after\n")
    assert not temporary.exists()
    assert (tmp_path / "logs" / "rank-0.log").read_bytes() == b"before\nafter\n"


def test_a_temporary_log_is_kept_only_when_it_will_be_read() -> None:
    for keep in (True, False):
        log = RankLog(0, None)
        log.close(keep=keep)
        assert log.path.exists() is keep
        log.path.unlink(missing_ok=True)


def test_a_run_directory_that_cannot_be_written_leaves_the_log_where_it_is(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "file").touch()
    rank = start(0, None)
    rank.log.move_to(tmp_path / "file" / "rank-0.log")
    rank.output.feed(b"still here\n")
    assert rank.logged() == b"still here\n"
    rank.log.close(keep=False)
