"""One set of prepared data for all ranks: one rank of each host prepares, the others open it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hvdcore.classifier.config import ClassifierConfig
from hvdcore.classifier.prepared import PreparedData, ProgressCallback, handed_over, is_complete
from hvdcore.errors import UserError
from hvdcore.files.checksums import require_undamaged
from hvdcore.keras.collectives import barrier, broadcast_object
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger

__all__ = ["prepare_distributed"]

logger = get_logger(__name__)

C = TypeVar("C", bound=ClassifierConfig)
D = TypeVar("D", bound=PreparedData[Any])


def prepare_distributed(
    config: C,
    prepare: Callable[[C, ProgressCallback], D],
    open_data: Callable[[Path], D],
    summary: Callable[[D], str],
    world: World,
) -> D:
    """Prepare on one rank of each host, then open on all. Every rank must call.

    What the process that launched the ranks has prepared is not prepared again.

    Args:
        prepare: prepares the data, or finds it in the cache.
        summary: one line about the data, for rank 0's log.

    Raises:
        UserError: the data is wrong or damaged, or a rank does not see rank 0's.
    """
    path = ""
    if world.local_rank == 0:
        given = handed_over(config)
        data = prepare(config, _beat) if given is None else open_data(given)
        path = str(data.path)
        require_undamaged(data.path, data.meta, lambda: beat("prepare"))
        if world.is_root:
            logger.info("%s", summary(data))
    barrier()
    found = Path(broadcast_object(path))
    if not is_complete(found):
        raise UserError(
            f"data: rank {world.rank} on {socket.gethostname()} does not see {found}, which rank 0"
            " prepared; set XDG_CACHE_HOME to one path that all hosts and containers share, or that"
            " each has"
        )
    return open_data(found)


def _beat(done: int, total: int) -> None:
    beat("prepare")
