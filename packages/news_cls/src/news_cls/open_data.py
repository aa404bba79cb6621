"""One set of prepared texts for all ranks: one rank of a host prepares, the others open."""

from __future__ import annotations

from pathlib import Path

from hvdcore.heartbeat import beat
from hvdcore.keras import any_rank, broadcast_object
from hvdcore.logs import get_logger
from hvdcore.world import World
from news_cls.config import DataFields
from news_cls.prepare import prepare, summary
from news_cls.text_data import TextData, open_data

logger = get_logger(__name__)


def open_data_on_all_ranks(config: DataFields, world: World) -> TextData:
    """Prepare on one rank of each host, then open everywhere. Every rank must call.

    Raises:
        UserError: the data is not what it should be.
    """
    path = ""
    if world.local_rank == 0:
        data = prepare(config, lambda done, total: beat("prepare"))
        path = str(data.path)
        if world.is_root:
            logger.info("%s", summary(data))
    any_rank(False)
    return open_data(Path(broadcast_object(path)))
