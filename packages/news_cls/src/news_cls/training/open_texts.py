"""The prepared texts on all ranks; networks and TF-IDF begin with it."""

from __future__ import annotations

from hvdcore.classifier.keras import open_on_all_ranks
from hvdcore.runtime.world import World
from news_cls.config import DataFields
from news_cls.data.dataset import TextData, open_data
from news_cls.data.prepare import prepare, summary

__all__ = ["open_texts"]


def open_texts(config: DataFields, world: World) -> TextData:
    """Prepare on one rank of each host, then open everywhere. Every rank must call.

    Raises:
        UserError: the data is not what it should be.
    """
    return open_on_all_ranks(lambda tell: prepare(config, tell), open_data, summary, world)
