"""The parts of a data set as training sees them, whatever its samples are."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from hvdcore.errors import UserError

__all__ = ["Part", "evenly", "first_of_each_class"]


class Part(Protocol):
    """Samples of train, val or test, with a class each."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each sample, int64 [n]."""

    def __len__(self) -> int: ...


def evenly(n: int, count: int) -> npt.NDArray[np.int64]:
    """`count` of 0..n-1 at even distances, or all if there are no more; int64, ascending."""
    count = min(count, n)
    return np.arange(count, dtype=np.int64) * n // max(count, 1)


def first_of_each_class(
    labels: npt.NDArray[np.int64], count: int, *, field: str, samples: str
) -> npt.NDArray[np.int64]:
    """The places of `count` samples, as many of each class as can be; int64, ascending.

    A larger count takes in what a smaller one took.

    Args:
        labels: int64 [n].
        field: the option that asked for it.
        samples: what they are called, in the plural.

    Raises:
        UserError: there are fewer.
    """
    if count > len(labels):
        raise UserError(
            f"{field}: {count} of only {len(labels)} {samples}; give {len(labels)} or less"
        )
    # By their place within the class, so that classes take turns.
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = np.arange(len(members))
    return np.sort(np.argsort(turn, kind="stable")[:count])
