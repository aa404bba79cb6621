"""Time-outs of the launcher while somebody sets the computer's clock."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("horovod.runner")


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_change_of_the_clock_is_no_time(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    from horovod.runner.common.util.timeout import Timeout
    from horovod.runner.elastic.discovery import HostState

    limit, passed = Timeout(60, "Waited for {activity}."), Timeout(0, "Waited for {activity}.")
    host = HostState(cooldown_range=(60, 60))
    host.blacklist()
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + jump)
    assert 0 < limit.remaining() <= 60
    assert not limit.timed_out()
    assert not host.is_resurrected()
    assert passed.timed_out(), "control"
