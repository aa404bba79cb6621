"""One set of starting word vectors for all ranks: rank 0 makes them, the others take its."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.keras import allreduce_sum, broadcast_object
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from news_cls.check import train_part
from news_cls.config import TrainConfig
from news_cls.data.dataset import TextData
from news_cls.model.embeddings import ppmi_vectors, random_vectors
from news_cls.model.vector_files import read_vectors

__all__ = ["start_vectors"]


def start_vectors(config: TrainConfig, data: TextData, world: World) -> npt.NDArray[np.float32]:
    """As the configuration has it, float32 [vocabulary, E], the same on every rank. Every rank
    must call.

    Raises:
        UserError: a file that is none of vectors.
    """
    beat("prepare")
    made = _made(config, data) if world.is_root else None
    dim = int(broadcast_object("" if made is None else str(made.shape[1])))
    if made is None:
        made = np.zeros((data.vocab_size, dim), dtype=np.float32)
    # Only rank 0 has anything but zeros, so the sum is exact.
    return allreduce_sum(made)


def _made(config: TrainConfig, data: TextData) -> npt.NDArray[np.float32]:
    if config.vectors == "random":
        return random_vectors(data.vocab_size, config.embed_dim, config.seed)
    if config.vectors == "ppmi":
        ids = train_part(config, data).ids
        return ppmi_vectors(ids, data.vocab_size, config.embed_dim, config.seed)
    return read_vectors(Path(config.vectors), data.words, config.seed)
