"""Rows of unlike length that lie one after another in one array on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

__all__ = ["Names", "Ragged", "Texts", "offsets_of"]

Offsets = npt.NDArray[np.int64]


def offsets_of(lengths: Sequence[int] | Offsets) -> Offsets:
    """Where each row begins, and last where the last one ends: int64 [n + 1]."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


class Ragged:
    """Rows as views into one flat array.

    Args:
        flat: all rows, one after another; may be longer than these rows.
        offsets: int64 [n + 1]; row i is `flat[offsets[i]:offsets[i + 1]]`.
        chosen: int64 rows of these that are meant, in that order; by default all.
    """

    def __init__(
        self, flat: npt.NDArray[Any], offsets: Offsets, chosen: Offsets | None = None
    ) -> None:
        self._flat, self._offsets, self._chosen = flat, offsets, chosen

    def __len__(self) -> int:
        return len(self._offsets) - 1 if self._chosen is None else len(self._chosen)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """One row, a view; an index from the end may be negative.

        Raises:
            IndexError: there is no such row.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        place = int(index) % len(self)
        row = place if self._chosen is None else int(self._chosen[place])
        return self._flat[self._offsets[row] : self._offsets[row + 1]]

    @property
    def offsets(self) -> Offsets:
        """int64 [n + 1], into `flat`.

        Raises:
            ValueError: rows were chosen, which do not follow one another.
        """
        if self._chosen is not None:
            raise ValueError("chosen rows have no offsets; use lengths")
        return self._offsets

    @property
    def flat(self) -> npt.NDArray[Any]:
        """The whole array that the offsets point into."""
        return self._flat

    @property
    def lengths(self) -> Offsets:
        """int64 [n]."""
        lengths = np.diff(self._offsets)
        return lengths if self._chosen is None else lengths[self._chosen]

    def take(self, indices: Offsets) -> Ragged:
        """Some of the rows, in that order; nothing is read."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Ragged(
            self._flat, self._offsets, chosen if self._chosen is None else self._chosen[chosen]
        )

    def padded(self, indices: Offsets, length: int) -> npt.NDArray[Any]:
        """Some of the rows, cut and filled up with 0: [len(indices), length], in memory."""
        rows = np.asarray(indices, dtype=np.int64)
        rows = rows if self._chosen is None else self._chosen[rows]
        starts = self._offsets[rows]
        lengths = np.minimum(self._offsets[rows + 1] - starts, length)
        steps = np.arange(length)
        inside = steps < lengths[:, None]
        places = np.where(inside, starts[:, None] + steps, 0)
        found = self._flat[places] if len(self._flat) else np.zeros_like(places)
        return np.where(inside, found, 0).astype(self._flat.dtype, copy=False)


class Texts(Sequence[str]):
    """Texts out of rows of UTF-8 bytes; each is decoded when it is asked for."""

    def __init__(self, rows: Ragged) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.rows[index].tobytes().decode()

    def take(self, indices: Offsets) -> Texts:
        """Some of the texts, in that order; nothing is read."""
        return Texts(self.rows.take(indices))


class Names(Sequence[str]):
    """Where each text comes from, for people.

    Args:
        files: names of the files.
        origins: int64 [n, 2], file and row.
    """

    def __init__(self, files: tuple[str, ...], origins: npt.NDArray[np.int64]) -> None:
        self._files, self._origins = files, origins

    def __len__(self) -> int:
        return len(self._origins)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        file, row = self._origins[index]
        return f"{self._files[file]} row {row}"

    def take(self, indices: Offsets) -> Names:
        """Some of the names, in that order."""
        return Names(self._files, self._origins[indices])
