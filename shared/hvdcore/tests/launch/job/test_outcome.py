from __future__ import annotations

import signal
from collections import deque

import pytest

from hvdcore.launch.supervisor.outcome import RankEnd, read_outcome
from hvdcore.launch.supervisor.output import why_it_failed

TRACEBACK = """before
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    run()
    ^^^^^
horovod.common.exceptions.{name}: {text}
after
""".splitlines()


def tail(name: str = "", text: str = "") -> deque[str]:
    return deque(line.format(name=name, text=text) for line in TRACEBACK) if name else deque()


def outcome_of(code: int, lines: deque[str] | None = None, stop: int | None = None) -> RankEnd:
    return read_outcome(1, code, lines or deque(), log="LOG", asked_to_stop=stop)


def test_exception() -> None:
    end = outcome_of(1, tail("ValueError", "no: colon trouble"))
    assert end.line() == "rank 1 failed: ValueError: no: colon trouble (log: LOG)"
    assert end.is_failure


def test_the_last_of_chained_exceptions_counts() -> None:
    assert why_it_failed(tail("KeyError", "a") + tail("OSError", "b")) == "OSError: b"


def test_exception_without_text() -> None:
    lines = deque(["Traceback (most recent call last):", '  File "a.py"', "MemoryError"])
    assert why_it_failed(lines) == "MemoryError"


def test_killed() -> None:
    end = outcome_of(-signal.SIGKILL)
    assert end.line() == "rank 1 was killed by SIGKILL (log: LOG)"
    assert (end.kind, end.code) == ("killed", 1)


@pytest.mark.parametrize("text", ["HorovodInternalError", "HorovodShutdownError"])
def test_losing_another_rank_is_no_failure_of_ones_own(text: str) -> None:
    end = outcome_of(1, tail(text, "Horovod has been shut down. This was caused by ..."))
    assert end.kind == "victim"
    assert not end.is_failure


def test_crash_in_cpp_after_losing_another_rank() -> None:
    end = outcome_of(-signal.SIGABRT, deque(["terminate called after 'gloo::IoException'"]))
    assert end.kind == "victim"


@pytest.mark.parametrize(
    ("code", "stop", "kind", "exit_code"),
    [
        (143, None, "stopped-by-request", 143),
        (130, None, "stopped-by-request", 130),
        (-signal.SIGTERM, signal.SIGTERM, "stopped-by-request", 143),
        (-signal.SIGINT, signal.SIGINT, "stopped-by-request", 130),
        (-signal.SIGTERM, None, "killed", 1),
        (2, None, "input", 2),
        (0, None, "done", 0),
        (3, None, "failed", 1),
    ],
)
def test_exit_codes(code: int, stop: int | None, kind: str, exit_code: int) -> None:
    end = outcome_of(code, stop=stop)
    assert (end.kind, end.code) == (kind, exit_code)


def test_without_traceback_the_last_line_says_why() -> None:
    assert (
        outcome_of(3, deque(["x", "out of luck", ""])).reason
        == "failed with exit code 3: out of luck"
    )


def test_message_round_trip() -> None:
    end = RankEnd(3, 2, "input", log="L", errors=("error: a", "error: b"))
    assert RankEnd.from_message(end.as_message()) == end


def test_of_a_stall_the_rank_that_did_not_come_is_named() -> None:
    said = [
        "Missing ranks:",
        "1!: [allreduce.all, allreduce.more]",
        "HorovodInternalError: shut down",
    ]
    end = read_outcome(0, 1, deque(said), log="log", asked_to_stop=None)
    assert end.kind == "victim"
    assert end.reason == "failed: waited in vain for rank 1 in allreduce.all, allreduce.more"
    warned = [line.replace("!", "") for line in said]
    end = read_outcome(0, 1, deque(warned), log="log", asked_to_stop=None)
    assert "in vain" not in end.reason, "control: a warning alone"


def test_a_python_that_is_interrupted_while_it_starts_was_asked_to() -> None:
    """It then ends with code 1, not by the signal."""
    said = deque(["Could not import runpy module", *tail("x"), "KeyboardInterrupt", ""])
    end = outcome_of(1, said, signal.SIGINT)
    assert (end.kind, end.code) == ("stopped-by-request", 130)
    assert outcome_of(1, said).is_failure, "control: nobody asked"
    assert outcome_of(1, said, signal.SIGTERM).is_failure, "control: asked for something else"
    assert outcome_of(1, tail("ValueError", "x"), signal.SIGINT).is_failure, "control: another end"
