"""The rule that names the culprit, over hand-made times."""

from __future__ import annotations

from hvdcore.launch.supervisor.outcome import Watch
from hvdcore.runtime.heartbeat import Beat


def watch(*, alone: bool = False) -> Watch:
    return Watch(10.0, alone=alone, now=0.0)


def run(subject: Watch, until: int, beat: Beat, state: str = "S", since: int = 0) -> str | None:
    """Look each second with the same beat; the kind of the first finding."""
    for second in range(since, until + 1):
        finding = subject.look(beat, state, float(second))
        if finding:
            return finding.kind
    return None


def test_silence_in_a_working_phase_is_a_hang() -> None:
    subject = watch()
    assert run(subject, 10, Beat(1, 4, "compute", 9)) is None
    finding = subject.look(Beat(1, 4, "compute", 9), "S", 11.0)
    assert finding is not None
    assert finding.kind == "hung"
    assert "no heartbeat for 10 s in phase 'compute' of step 4" in finding.reason


def test_waiting_for_others_is_no_hang() -> None:
    assert run(watch(), 1000, Beat(1, 4, "communicate", 9)) is None


def test_nobody_else_compares_so_waiting_ends_after_twice_the_bound() -> None:
    assert run(watch(alone=True), 20, Beat(1, 4, "communicate", 9)) is None
    assert run(watch(alone=True), 21, Beat(1, 4, "communicate", 9)) == "starved"


def test_loading_a_framework_may_take_longer() -> None:
    assert run(watch(), 120, Beat(1, -1, "start", 9)) is None
    assert run(watch(), 121, Beat(1, -1, "start", 9)) == "hung"
    assert run(watch(alone=True), 120, Beat(1, -1, "start", 9)) is None


def test_beats_keep_a_rank_alive() -> None:
    subject = watch()
    for second in range(100):
        assert subject.look(Beat(second, second, "compute", 9), "R", float(second)) is None


def test_a_program_without_heartbeats_is_never_hung() -> None:
    assert run(watch(alone=True), 1000, Beat(0, -1, "none", 0)) is None


def test_a_stopped_process_is_found_in_any_phase() -> None:
    for beat in (Beat(0, -1, "none", 0), Beat(1, 4, "communicate", 9)):
        assert run(watch(), 10, beat, "T") is None
        assert run(watch(), 11, beat, "T") == "stopped"


def test_a_supervisor_that_slept_starts_again_from_zero() -> None:
    subject = watch()
    assert subject.look(Beat(1, 4, "compute", 9), "S", 1.0) is None
    assert subject.look(Beat(1, 4, "compute", 9), "S", 500.0) is None, "we slept, not the rank"
    assert run(subject, 520, Beat(1, 4, "compute", 9), since=501) == "hung"
