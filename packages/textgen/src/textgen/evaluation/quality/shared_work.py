"""Owns numbered pieces of work that the ranks share out, and the bar that shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from hvdcore.runtime.heartbeat import beat
from hvdcore.sharding import eval_range
from hvdcore.torch import broadcast_object, gather_objects
from hvdcore.tracking.progress import Progress

if TYPE_CHECKING:
    from hvdcore.runtime.world import World

__all__ = ["BATCH", "num_batches", "shared_work"]

BATCH = 8
"""Texts in a piece of work. A piece is the same on any rank, so its results are the same, to the
bit, for any number of ranks."""

T = TypeVar("T")


def shared_work(
    world: World, count: int, work: Callable[[int], list[T]], description: str
) -> list[T]:
    """The results of all pieces 0 .. count - 1, in order, on every rank. Every rank must call.

    Args:
        work: does one piece; its results are made of JSON's types.
        description: what the bar on rank 0 calls it.
    """
    own = eval_range(count, world.rank, world.size)
    done: list[T] = []
    with Progress(len(own), "pieces", world.is_root, description=description) as progress:
        for piece in own:
            beat("evaluate")
            done += work(piece)
            progress.advance(1)
    results: list[T] = broadcast_object([one for part in gather_objects(done) for one in part])
    return results


def num_batches(num_texts: int) -> int:
    """Pieces of at most `BATCH` texts."""
    return -(-num_texts // BATCH)
