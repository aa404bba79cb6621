"""One set of prepared data for all ranks: one rank of a host prepares, the others open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from hvdcore.classifier.prepared import Progress
from hvdcore.keras.collectives import any_rank, broadcast_object
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger

__all__ = ["open_on_all_ranks"]

logger = get_logger(__name__)


class Prepared(Protocol):
    """Data in a folder of the cache."""

    @property
    def path(self) -> Path:
        """The folder."""


Data = TypeVar("Data", bound=Prepared)


def open_on_all_ranks(
    prepare: Callable[[Progress], Data],
    open_data: Callable[[Path], Data],
    summary: Callable[[Data], str],
    world: World,
) -> Data:
    """Prepare on one rank of each host, then open everywhere. Every rank must call.

    Args:
        prepare: prepares, or finds what was prepared before.
        summary: a line about it, for rank 0's log.

    Raises:
        UserError: the data is not what it should be.
    """
    path = ""
    if world.local_rank == 0:
        data = prepare(lambda done, total: beat("prepare"))
        path = str(data.path)
        if world.is_root:
            logger.info("%s", summary(data))
    any_rank(False)
    return open_data(Path(broadcast_object(path)))
