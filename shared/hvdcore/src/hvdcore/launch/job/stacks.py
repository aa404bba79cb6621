"""The launcher's side of stacks on demand: it asks every rank, and passes on what they answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from hvdcore.launch.supervisor.channel import Channel, Message
from hvdcore.launch.supervisor.stacks import StacksAnswer

__all__ = ["StacksRound", "standing_line"]

# A rank that does not answer SIGUSR1 is given up after 3 s, and py-spy has 6 s.
_ROUND_SECONDS = 12.0
_FRESH_SECONDS = 15.0


def standing_line(answers: Iterable[StacksAnswer]) -> str:
    """One line that says where each rank stands."""
    told = sorted(answers, key=lambda answer: answer.rank)
    where = "; ".join(f"rank {answer.rank} {answer.place}" for answer in told)
    return f"where the ranks stand: {where} (their stacks are in their logs)"


class StacksRound:
    """Stacks of all ranks of a job, when somebody asks: a command, a signal, the watchdog.

    Args:
        order: tells every rank's supervisor.
    """

    def __init__(self, order: Callable[[Message], None]) -> None:
        self.answers: dict[int, StacksAnswer] = {}
        self._order = order
        self._awaited: set[int] = set()
        self._began_at = self._ended_at = 0.0
        self._listeners: list[Channel] = []

    @property
    def is_running(self) -> bool:
        """Some ranks have not answered yet."""
        return bool(self._awaited)

    def are_fresh(self, now: float) -> bool:
        """The answers are of just now."""
        return bool(self.answers) and now - self._ended_at < _FRESH_SECONDS

    def begin(self, ranks: Iterable[int], listener: Channel | None = None) -> None:
        """Ask these ranks; while a round is under way its answers will do.

        Args:
            listener: who gets the answers, as messages of its own.
        """
        if listener is not None:
            self._listeners.append(listener)
        if self._awaited:
            return
        self.answers, self._awaited = {}, set(ranks)
        self._began_at = time.monotonic()
        self._order({"type": "stacks"})

    def answer(self, rank: int, message: Message) -> None:
        """A rank has answered."""
        if rank in self._awaited:
            self.answers[rank] = StacksAnswer.from_message(rank, message)
            self._awaited.discard(rank)

    def lost(self, rank: int) -> None:
        """A rank has ended, and will not answer."""
        self._awaited.discard(rank)

    def look(self, now: float) -> bool:
        """Whether a round has just come to its end; its listeners have got the answers then."""
        for listener in self._listeners:
            listener.flush()
        if not self._began_at or (self._awaited and now - self._began_at < _ROUND_SECONDS):
            return False
        self._began_at, self._ended_at = 0.0, now
        self._order({"type": "stacks-taken"})
        for listener in self._listeners:
            self._tell(listener)
        self._awaited = set()
        return True

    def _tell(self, listener: Channel) -> None:
        for rank in sorted(self.answers):
            listener.send({"rank": rank, **self.answers[rank].as_message()})
        listener.send({"type": "done", "missing": sorted(self._awaited)})

    def close(self) -> None:
        """Hang up on those who asked."""
        for listener in self._listeners:
            listener.close()
        self._listeners = []
