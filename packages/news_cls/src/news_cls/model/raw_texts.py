"""Texts as a saved model takes them: raw strings in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.keras import Inputs
from hvdcore.sharding import Indices
from news_cls.data.dataset import Part, TextData

__all__ = ["RawTexts", "string_batch"]


class RawTexts:
    """Parts whose texts go into a saved model as they are; see `hvdcore.classifier.keras.EvalTask`.

    Args:
        rows: texts at once.
    """

    def __init__(self, data: TextData, rows: int) -> None:
        self.classes, self.parts, self.rows = data.classes, data.parts, rows

    def eval_batches(self, part: Part, indices: Indices) -> Iterator[tuple[Indices, Inputs]]:
        """In the order of `indices`."""
        for start in range(0, len(indices), self.rows):
            places = np.arange(start, min(start + self.rows, len(indices)))
            texts = [part.texts[int(i)] for i in indices[places]]
            yield places, (string_batch(texts, self.rows),)


def string_batch(texts: Sequence[str], rows: int) -> npt.NDArray[np.object_]:
    """UTF-8 strings [rows]; empty ones fill it up."""
    found = np.full(rows, b"", dtype=object)
    for row, text in enumerate(texts):
        found[row] = text.encode("utf-8", "replace")
    return found
