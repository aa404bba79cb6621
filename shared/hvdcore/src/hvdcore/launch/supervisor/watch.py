"""Owns the rule by which a supervisor decides that its rank is stuck, and who is to blame."""

from __future__ import annotations

from dataclasses import dataclass

from hvdcore.runtime.heartbeat import Beat

__all__ = ["Finding", "Watch"]

# A supervisor that did not run for so long was itself stopped: what it did not see proves nothing.
_ASLEEP_SECONDS = 5.0
# A framework that loads gives no sign of life, and from a shared or cold disk it takes its time.
_START_SECONDS = 120.0


@dataclass(frozen=True)
class Finding:
    """Why a rank is given up: `kind` 'hung', 'stopped' or 'starved', and a clause for the user."""

    kind: str
    reason: str


class Watch:
    """Looks at a rank again and again. Times are seconds of a monotonic clock.

    Args:
        timeout: the bound for a rank that gives no sign of life, in seconds; in phase 'start' it
            is at least 120.
        alone: True when nobody compares the ranks, so that one that waits for others for ever
            must give up by itself, after twice the bound.
    """

    def __init__(self, timeout: float, *, alone: bool, now: float) -> None:
        self.timeout = timeout
        self.alone = alone
        self.beat = Beat(0, -1, "none", 0)
        self._beat_at = self._ran_at = self._looked_at = now

    def idle_seconds(self, now: float) -> float:
        """Seconds since the last beat."""
        return now - self._beat_at

    def look(self, beat: Beat, state: str, now: float) -> Finding | None:
        """Take in the last beat and the state letter of the process; a finding ends the rank."""
        if now - self._looked_at > _ASLEEP_SECONDS:
            self._beat_at = self._ran_at = now
        self._looked_at = now
        if beat != self.beat:
            self.beat, self._beat_at = beat, now
        if state not in ("T", "t"):
            self._ran_at = now
        return self._judge(now)

    def _judge(self, now: float) -> Finding | None:
        if now - self._ran_at > self.timeout:
            return Finding("stopped", f"stopped by a signal for more than {self.timeout:g} s")
        idle, beat = self.idle_seconds(now), self.beat
        if beat.number == 0:  # a program that knows nothing of heartbeats
            return None
        where = f"in phase '{beat.phase}'" + (f" of step {beat.step}" if beat.step >= 0 else "")
        bound = max(self.timeout, _START_SECONDS) if beat.phase == "start" else self.timeout
        if beat.phase != "communicate" and idle > bound:
            return Finding("hung", f"hung: no sign of life for {bound:g} s {where}")
        if self.alone and beat.phase == "communicate" and idle > 2 * self.timeout:
            reason = f"waited more than {2 * self.timeout:g} s for the other ranks {where}"
            return Finding("starved", reason)
        return None
